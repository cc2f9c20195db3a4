// PrefillAttention against the formula, over caches whose unused rows are NaN.
#include <algorithm>
#include <cstring>
#include <numeric>

#include "engine/kernels/kernels.h"
#include "tests/kernels/kernel_test.h"

namespace glimpse::kernels {
namespace {

struct Span {
  int tokens;
  int kv_length;
};

struct Batch {
  std::vector<Span> spans;
  int kv_heads, group;
  int room;  // tokens
};

// A batch on the device, with what its attention should give.
class Fixture {
 public:
  explicit Fixture(const Batch& batch, int spans_room = 0)
      : kv_heads_(batch.kv_heads),
        group_(batch.group),
        room_(batch.room),
        num_spans_(std::max<int>(batch.spans.size(), spans_room)),
        stride_((batch.group + 2) * batch.kv_heads * kHeadSize),
        first_tokens_(num_spans_ + 1),
        kv_lengths_(num_spans_) {
    for (size_t i = 0; i < batch.spans.size(); ++i) {
      first_tokens_[i + 1] = first_tokens_[i] + batch.spans[i].tokens;
      kv_lengths_[i] = batch.spans[i].kv_length;
    }
    for (int i = static_cast<int>(batch.spans.size()); i < num_spans_; ++i) {
      first_tokens_[i + 1] = first_tokens_[i];
    }
    FillQueries();
    FillCache();
  }

  int tokens() const { return first_tokens_.back(); }
  int heads() const { return kv_heads_ * group_; }
  size_t OutSize() const { return static_cast<size_t>(room_) * heads() * kHeadSize; }
  const std::vector<int32_t>& first_tokens() const { return first_tokens_; }
  const std::vector<int32_t>& kv_lengths() const { return kv_lengths_; }
  const std::vector<int32_t>& block_table() const { return block_table_; }
  const std::vector<bf16>& q() const { return q_; }
  const std::vector<bf16>& keys() const { return keys_; }
  const std::vector<bf16>& values() const { return values_; }

  PrefillAttention Args() const {
    PrefillAttention args;
    args.q_stride = stride_;
    args.cache_rows = kCacheRows;
    args.num_tokens = room_;
    args.num_spans = num_spans_;
    args.heads = heads();
    args.kv_heads = kv_heads_;
    args.max_blocks = kMaxBlocks;
    return args;
  }

  std::vector<double> Expected() const {
    std::vector<double> out;
    for (int span = 0; span < num_spans_; ++span) {
      for (int token = first_tokens_[span]; token < first_tokens_[span + 1]; ++token) {
        const int visible = kv_lengths_[span] - (first_tokens_[span + 1] - token) + 1;
        for (int head = 0; head < heads(); ++head) AppendHead(span, token, head, visible, &out);
      }
    }
    return out;
  }

 private:
  static constexpr int kCacheRows = 4096;
  static constexpr int kMaxBlocks = 120;

  void FillQueries() {
    q_.assign(static_cast<size_t>(room_) * stride_, __float2bfloat16(NAN));
    const auto random = RandomBf16(static_cast<size_t>(tokens()) * stride_, 1, 1.5);
    std::copy(random.begin(), random.end(), q_.begin());
  }

  // Blocks in random order; NaN wherever no token of a span is.
  void FillCache() {
    const size_t row_size = static_cast<size_t>(kv_heads_) * kHeadSize;
    keys_.assign(kCacheRows * row_size, __float2bfloat16(NAN));
    values_ = keys_;
    const auto random_keys = RandomBf16(keys_.size(), 2);
    const auto random_values = RandomBf16(keys_.size(), 3);
    std::vector<int32_t> blocks(kCacheRows / kKvBlockRows);
    std::iota(blocks.begin(), blocks.end(), 0);
    std::shuffle(blocks.begin(), blocks.end(), std::mt19937(4));
    block_table_.assign(static_cast<size_t>(num_spans_) * kMaxBlocks, INT32_MIN / 64);
    size_t next = 0;
    for (int span = 0; span < num_spans_; ++span) {
      for (int i = 0; i < kv_lengths_[span]; ++i) {
        if (i % kKvBlockRows == 0) {
          block_table_[span * kMaxBlocks + i / kKvBlockRows] = blocks.at(next++);
        }
        const size_t first = Row(span, i) * row_size;
        std::copy_n(random_keys.begin() + first, row_size, keys_.begin() + first);
        std::copy_n(random_values.begin() + first, row_size, values_.begin() + first);
      }
    }
  }

  size_t Row(int span, int key) const {
    const int block = block_table_[span * kMaxBlocks + key / kKvBlockRows];
    return static_cast<size_t>(block) * kKvBlockRows + key % kKvBlockRows;
  }

  void AppendHead(int span, int token, int head, int visible, std::vector<double>* out) const {
    const bf16* q = &q_[token * stride_ + head * kHeadSize];
    std::vector<double> values(kHeadSize);
    double sum = 0;
    for (int key = 0; key < visible; ++key) {
      const size_t first = (Row(span, key) * kv_heads_ + head / group_) * kHeadSize;
      double score = 0;
      for (int c = 0; c < kHeadSize; ++c)
        score += double{ToFloat(q[c])} * ToFloat(keys_[first + c]);
      const double weight = std::exp(score / std::sqrt(kHeadSize));
      sum += weight;
      for (int c = 0; c < kHeadSize; ++c) values[c] += weight * ToFloat(values_[first + c]);
    }
    for (const double value : values) out->push_back(value / sum);
  }

  const int kv_heads_, group_, room_, num_spans_;
  const int64_t stride_;
  std::vector<int32_t> first_tokens_, kv_lengths_, block_table_;
  std::vector<bf16> q_, keys_, values_;
};

// A fixture's arrays, which a captured launch reads again when they have changed.
struct OnDevice {
  explicit OnDevice(const Fixture& fixture)
      : q(fixture.q()),
        keys(fixture.keys()),
        values(fixture.values()),
        block_table(fixture.block_table()),
        first_tokens(fixture.first_tokens()),
        kv_lengths(fixture.kv_lengths()),
        out(fixture.OutSize()),
        workspace(std::vector<char>(PrefillAttentionWorkspaceBytes())),
        args(fixture.Args()) {
    args.q = q.data();
    args.keys = keys.data();
    args.values = values.data();
    args.block_table = block_table.data();
    args.first_tokens = first_tokens.data();
    args.kv_lengths = kv_lengths.data();
    args.out = out.data();
    args.workspace = workspace.data();
  }

  DeviceArray<bf16> q, keys, values;
  DeviceArray<int32_t> block_table, first_tokens, kv_lengths;
  DeviceArray<bf16> out;
  DeviceArray<char> workspace;
  PrefillAttention args;
};

// Of the spans' tokens; all behind them must be as DeviceArray made it.
void CheckOut(const std::vector<bf16>& out, const Fixture& fixture) {
  const size_t written = static_cast<size_t>(fixture.tokens()) * fixture.heads() * kHeadSize;
  CheckClose({out.begin(), out.begin() + written}, fixture.Expected(), 1.05, 4e-3);
  const bool poisoned = std::all_of(out.begin() + written, out.end(), [](bf16 value) {
    return __bfloat16_as_ushort(value) == 0xffff;
  });
  CHECK(poisoned);
}

TEST_CASE("prefill attention is causal attention of each span over its own cache", "[gpu]") {
  const Batch batch = GENERATE(
      Batch{{{1, 1}}, 2, 16, 1}, Batch{{{5, 5}}, 2, 16, 8},
      Batch{
          {{1, 1}, {17, 40}, {0, 0}, {130, 130}, {3, 900}, {8, 16}, {16, 16}, {0, 0}}, 2, 16, 180},
      Batch{{{33, 33}, {7, 129}, {64, 128}}, 1, 4, 104}, Batch{{{70, 75}, {1, 300}}, 3, 1, 71},
      Batch{{{0, 0}, {77, 77}}, 2, 2, 80}, Batch{{{129, 385}}, 1, 8, 129});
  const Fixture fixture(batch);
  const OnDevice device(fixture);
  Launch(device.args, nullptr);
  CheckOut(device.out.ToHost(), fixture);
}

TEST_CASE("prefill attention over spans of no tokens writes nothing", "[gpu]") {
  const Fixture fixture(Batch{{{0, 0}, {0, 20}}, 2, 16, 4});
  const OnDevice device(fixture);
  Launch(device.args, nullptr);
  CheckOut(device.out.ToHost(), fixture);
}

TEST_CASE("prefill attention gives the same bits each time on the same workspace", "[gpu]") {
  // Tiles that many blocks share, few keys to each.
  const Fixture fixture(Batch{{{9, 1900}, {40, 1000}}, 2, 16, 49});
  const OnDevice device(fixture);
  Launch(device.args, nullptr);
  const auto first = device.out.ToHost();
  CheckOut(first, fixture);
  for (int i = 0; i < 5; ++i) {
    Launch(device.args, nullptr);
    const auto again = device.out.ToHost();
    REQUIRE(std::memcmp(first.data(), again.data(), first.size() * sizeof(bf16)) == 0);
  }
}

template <typename T>
void Upload(const std::vector<T>& values, const DeviceArray<T>& array) {
  CheckCuda(
      cudaMemcpy(array.data(), values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice),
      "upload");
}

TEST_CASE("a captured prefill attention follows the lengths that it finds when replayed", "[gpu]") {
  const int spans_room = 4;
  const Fixture captured(Batch{{{3, 3}}, 2, 16, 64}, spans_room);
  const OnDevice device(captured);
  cudaStream_t stream;
  cudaGraph_t graph;
  cudaGraphExec_t replay;
  CheckCuda(cudaStreamCreate(&stream), "stream");
  CheckCuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
  Launch(device.args, stream);
  CheckCuda(cudaStreamEndCapture(stream, &graph), "capture");
  CheckCuda(cudaGraphInstantiate(&replay, graph, 0), "instantiate");
  for (const Batch& batch :
       {Batch{{{60, 60}}, 2, 16, 64}, Batch{{{10, 700}, {50, 50}}, 2, 16, 64}}) {
    const Fixture fixture(batch, spans_room);
    Upload(fixture.q(), device.q);
    Upload(fixture.keys(), device.keys);
    Upload(fixture.values(), device.values);
    Upload(fixture.block_table(), device.block_table);
    Upload(fixture.first_tokens(), device.first_tokens);
    Upload(fixture.kv_lengths(), device.kv_lengths);
    CheckCuda(cudaMemset(device.out.data(), 0xff, fixture.OutSize() * sizeof(bf16)), "poison");
    CheckCuda(cudaGraphLaunch(replay, stream), "replay");
    CheckOut(device.out.ToHost(), fixture);
  }
  cudaGraphExecDestroy(replay);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
}

}  // namespace
}  // namespace glimpse::kernels
