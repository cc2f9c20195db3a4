// Decode attention against a loop in double, over a cache that is NaN wherever no token lies.
#include <algorithm>
#include <cstring>
#include <numeric>

#include "engine/kernels/kernels.h"
#include "tests/kernels/kernel_test.h"

namespace glimpse {
namespace {

using kernels::kHeadSize;
using kernels::kKvBlockRows;

int BlocksOf(int length) { return (length + kKvBlockRows - 1) / kKvBlockRows; }

// Sequences of given lengths whose blocks lie scattered in the cache; unused entries of the table
// point outside it.
struct Problem {
  int kv_heads;
  int group;
  std::vector<int32_t> lengths;
  int max_blocks = 0;
  std::vector<int32_t> block_table;
  std::vector<bf16> q, keys, values;

  Problem(int kv_heads, int group, std::vector<int32_t> lengths, int seed = 1)
      : kv_heads(kv_heads), group(group), lengths(std::move(lengths)) {
    int blocks = 0;
    for (int length : this->lengths) {
      max_blocks = std::max(max_blocks, BlocksOf(length) + 1);
      blocks += BlocksOf(length);
    }
    std::vector<int32_t> order(blocks + 1);  // one block is nobody's
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), std::mt19937(seed));
    const size_t size = order.size() * kKvBlockRows * kv_heads * kHeadSize;
    keys = values = std::vector<bf16>(size, __float2bfloat16(NAN));
    const std::vector<bf16> random = RandomBf16(2 * size, seed);
    block_table.assign(this->lengths.size() * max_blocks, 1 << 30);
    int next = 0;
    for (size_t row = 0; row < this->lengths.size(); ++row) {
      for (int i = 0; i < BlocksOf(this->lengths[row]); ++i) {
        block_table[row * max_blocks + i] = order[next++];
      }
      for (int i = 0; i < this->lengths[row]; ++i) {
        for (size_t at = At(row, i, 0), end = At(row, i, kv_heads); at < end; ++at) {
          keys[at] = random[at];
          values[at] = random[size + at];
        }
      }
    }
    q = RandomBf16(this->lengths.size() * kv_heads * group * kHeadSize, seed + 1, 2.0f);
  }

  size_t At(size_t row, int token, int head) const {
    const size_t block = block_table[row * max_blocks + token / kKvBlockRows];
    return ((block * kKvBlockRows + token % kKvBlockRows) * kv_heads + head) * kHeadSize;
  }
};

std::vector<bf16> Run(const Problem& problem) {
  const DeviceArray<bf16> q(problem.q), keys(problem.keys), values(problem.values);
  const DeviceArray<int32_t> block_table(problem.block_table), lengths(problem.lengths);
  const DeviceArray<bf16> out(problem.q.size());
  const DeviceArray<uint8_t> workspace(
      std::vector<uint8_t>(static_cast<size_t>(kernels::DecodeAttentionWorkspaceBytes()), 0));
  kernels::DecodeAttention args;
  args.q = q.data();
  args.keys = keys.data();
  args.values = values.data();
  args.block_table = block_table.data();
  args.lengths = lengths.data();
  args.out = out.data();
  args.workspace = workspace.data();
  args.rows = static_cast<int>(problem.lengths.size());
  args.kv_heads = problem.kv_heads;
  args.group = problem.group;
  args.max_blocks = problem.max_blocks;
  Launch(args, nullptr);
  const std::vector<bf16> first = out.ToHost();
  // The next launch finds the workspace as this one did, and gives the same bits.
  const std::vector<uint8_t> left = workspace.ToHost();
  CHECK(std::all_of(left.begin(), left.end(), [](uint8_t byte) { return byte == 0; }));
  Launch(args, nullptr);
  const std::vector<bf16> second = out.ToHost();
  CHECK(std::memcmp(first.data(), second.data(), first.size() * sizeof(bf16)) == 0);
  return first;
}

// The formula's row of one query head.
std::vector<double> Attend(const Problem& problem, size_t row, int head) {
  const size_t heads = problem.kv_heads * problem.group;
  const bf16* q = &problem.q[(row * heads + head) * kHeadSize];
  std::vector<double> out(kHeadSize, 0.0), weights;
  for (int i = 0; i < problem.lengths[row]; ++i) {
    const bf16* k = &problem.keys[problem.At(row, i, head / problem.group)];
    double score = 0;
    for (int c = 0; c < kHeadSize; ++c) score += double{ToFloat(q[c])} * ToFloat(k[c]);
    weights.push_back(score / std::sqrt(double{kHeadSize}));
  }
  if (weights.empty()) return out;
  const double high = *std::max_element(weights.begin(), weights.end());
  double sum = 0;
  for (double& weight : weights) sum += weight = std::exp(weight - high);
  for (int i = 0; i < problem.lengths[row]; ++i) {
    const bf16* v = &problem.values[problem.At(row, i, head / problem.group)];
    for (int c = 0; c < kHeadSize; ++c) out[c] += weights[i] / sum * ToFloat(v[c]);
  }
  return out;
}

// The probabilities are rounded to bf16 before they meet the values, which are of size 1: so the
// error is a few half steps of a bf16 of that size, however small the result.
void CheckAgainstLoop(const Problem& problem) {
  std::vector<double> expected;
  for (size_t row = 0; row < problem.lengths.size(); ++row) {
    for (int head = 0; head < problem.kv_heads * problem.group; ++head) {
      const std::vector<double> out = Attend(problem, row, head);
      expected.insert(expected.end(), out.begin(), out.end());
    }
  }
  CheckClose(Run(problem), expected, 1.05, 1e-2);
}

TEST_CASE("DecodeAttention attends to exactly the sequence's tokens", "[gpu]") {
  SECTION("around a KV block's edges") {
    CheckAgainstLoop(Problem(2, 16, {1, 2, 15, 16, 17, 31, 32, 33, 0, 127, 128, 129}));
  }
  SECTION("a single row of lengths that leave some of its splits without work") {
    const int length = GENERATE(1, 16, 100, 255, 257, 1000);
    CheckAgainstLoop(Problem(2, 16, {length}));
  }
  SECTION("longer than what is in flight at once") {
    CheckAgainstLoop(Problem(1, 16, {8191, 8192}));
  }
}

TEST_CASE("DecodeAttention takes any group and number of KV heads", "[gpu]") {
  const int kv_heads = GENERATE(1, 2, 3, 4);
  const int group = GENERATE(1, 2, 5, 8, 16);
  CheckAgainstLoop(Problem(kv_heads, group, {75, 1, 300}));
}

TEST_CASE("DecodeAttention splits by the number of rows and stays right", "[gpu]") {
  const int rows = GENERATE(2, 4, 8, 16, 32, 64);
  std::vector<int32_t> lengths(rows);
  std::mt19937 random(rows);
  for (int32_t& length : lengths) length = random() % 700;
  lengths[rows / 2] = 0;
  CheckAgainstLoop(Problem(2, 16, lengths));
}

TEST_CASE("DecodeAttention of one token is its value", "[gpu]") {
  const Problem problem(2, 16, {1});
  const std::vector<bf16> out = Run(problem);
  for (size_t i = 0; i < out.size(); ++i) {
    const int head = static_cast<int>(i) / kHeadSize / problem.group;
    REQUIRE(ToFloat(out[i]) == ToFloat(problem.values[problem.At(0, 0, head) + i % kHeadSize]));
  }
}

// To compare NaN with NaN.
std::vector<uint16_t> Bits(const std::vector<bf16>& values) {
  std::vector<uint16_t> bits;
  for (const bf16& value : values) bits.push_back(__bfloat16_as_ushort(value));
  return bits;
}

TEST_CASE("DecodeAttention gives a row the same bits whatever the other rows hold", "[gpu]") {
  const Problem problem(2, 16, {333, 1000, 0, 57});
  const std::vector<uint16_t> first = Bits(Run(problem));
  REQUIRE(Bits(Run(problem)) == first);
  Problem changed = problem;
  changed.lengths[1] = 20;
  const size_t row = problem.q.size() / 4;
  for (size_t i = row; i < 3 * row; ++i) changed.q[i] = __float2bfloat16(NAN);
  const std::vector<uint16_t> second = Bits(Run(changed));
  REQUIRE(std::equal(first.begin(), first.begin() + row, second.begin()));
  REQUIRE(std::equal(first.begin() + 2 * row, first.end(), second.begin() + 2 * row));
}

}  // namespace
}  // namespace glimpse
