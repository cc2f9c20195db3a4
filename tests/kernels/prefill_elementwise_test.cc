// The kernels around prefill's matrix products, each against a loop in double.
#include "engine/kernels/kernels.h"
#include "tests/kernels/kernel_test.h"

namespace glimpse {
namespace {

TEST_CASE("Embed takes a row of the table or of the token's picture", "[gpu]") {
  const int hidden = GENERATE(8, 72, 4096, 4104);
  const int vocabulary = 37, rows = 5;
  const std::vector<bf16> table = RandomBf16(size_t(vocabulary) * hidden, 1);
  const std::vector<bf16> first = RandomBf16(size_t(rows) * hidden, 2);
  const std::vector<bf16> second = RandomBf16(size_t(rows) * hidden, 3);
  const std::vector<int32_t> tokens = {0, 36, -1, -5, -2, 7, -5};
  const std::vector<const std::vector<bf16>*> sources = {&table,  &table, &first, &second,
                                                         &second, &table, &first};
  const DeviceArray<bf16> device_table(table), device_first(first), device_second(second);
  const bf16 *a = device_first.data(), *b = device_second.data();
  const DeviceArray<const bf16*> pictures({nullptr, nullptr, a, b, b, nullptr, a});
  const DeviceArray<int32_t> device_tokens(tokens);
  const DeviceArray<bf16> out(tokens.size() * hidden);
  kernels::Embed args;
  args.tokens = device_tokens.data();
  args.pictures = pictures.data();
  args.embeddings = device_table.data();
  args.out = out.data();
  args.num_tokens = static_cast<int>(tokens.size());
  args.hidden = hidden;
  Launch(args, nullptr);

  const std::vector<bf16> actual = out.ToHost();
  for (size_t t = 0; t < tokens.size(); ++t) {
    const int row = tokens[t] >= 0 ? tokens[t] : -1 - tokens[t];
    for (int i = 0; i < hidden; ++i) {
      REQUIRE(ToFloat(actual[t * hidden + i]) == ToFloat((*sources[t])[size_t(row) * hidden + i]));
    }
  }
}

TEST_CASE("RmsNorm divides each row by its root mean square", "[gpu]") {
  const int hidden = GENERATE(8, 264, 1544, 4096, 8192);
  const int rows = 37;
  const float eps = 1e-3f;
  const std::vector<bf16> x = RandomBf16(size_t(rows) * hidden, 1, 3.0f, 0.5f);
  const std::vector<bf16> weight = RandomBf16(hidden, 2, 0.1f, 1.0f);
  const DeviceArray<bf16> device_x(x), device_weight(weight), out(x.size());
  kernels::RmsNorm args;
  args.x = device_x.data();
  args.weight = device_weight.data();
  args.out = out.data();
  args.rows = rows;
  args.hidden = hidden;
  args.eps = eps;
  Launch(args, nullptr);

  std::vector<double> expected(x.size());
  for (int row = 0; row < rows; ++row) {
    double sum = 0;
    for (int i = 0; i < hidden; ++i) sum += std::pow(ToFloat(x[size_t(row) * hidden + i]), 2);
    const double scale = 1 / std::sqrt(sum / hidden + eps);
    for (int i = 0; i < hidden; ++i) {
      const size_t at = size_t(row) * hidden + i;
      expected[at] = ToFloat(x[at]) * scale * ToFloat(weight[i]);
    }
  }
  CheckClose(out.ToHost(), expected);
}

struct RopeCase {
  int heads, kv_heads;
  bool bias;
};

// The kernel's formula for channel `c` of a head, in double.
double Turned(const std::vector<double>& head, int c, const float* cos, const float* sin) {
  if (c >= 64) return head[c];
  const double even = head[c / 2 * 2], odd = head[c / 2 * 2 + 1];
  return c % 2 == 0 ? even * cos[c / 2] - odd * sin[c / 2] : odd * cos[c / 2] + even * sin[c / 2];
}

TEST_CASE("RopeAndCache turns q and k, and keeps k and v", "[gpu]") {
  const RopeCase shape =
      GENERATE(RopeCase{32, 2, true}, RopeCase{32, 2, false}, RopeCase{3, 1, true},
               RopeCase{40, 8, true}, RopeCase{1, 1, false});
  const int heads = shape.heads, kv_heads = shape.kv_heads, all = heads + 2 * kv_heads;
  const int cache_size = 23, num_positions = 9;
  const std::vector<int32_t> positions = {0, 8, 3, 3, 5}, cache_rows = {4, 22, 0, 7, 6};
  const int tokens = static_cast<int>(positions.size());
  std::vector<float> cos, sin;
  for (int i = 0; i < num_positions * 32; ++i) {
    cos.push_back(std::cos(0.37f * i));
    sin.push_back(std::sin(0.37f * i));
  }
  const std::vector<bf16> qkv = RandomBf16(size_t(tokens) * all * 128, 1);
  const std::vector<bf16> bias = RandomBf16(size_t(all) * 128, 2);
  const size_t cache_values = size_t(cache_size) * kv_heads * 128;
  const DeviceArray<bf16> device_qkv(qkv), device_bias(bias), keys(cache_values),
      values(cache_values);
  const DeviceArray<float> device_cos(cos), device_sin(sin);
  const DeviceArray<int32_t> device_positions(positions), device_cache_rows(cache_rows);
  kernels::RopeAndCache args;
  args.qkv = device_qkv.data();
  args.bias = shape.bias ? device_bias.data() : nullptr;
  args.cos = device_cos.data();
  args.sin = device_sin.data();
  args.positions = device_positions.data();
  args.cache_rows = device_cache_rows.data();
  args.keys = keys.data();
  args.values = values.data();
  args.num_tokens = tokens;
  args.heads = heads;
  args.kv_heads = kv_heads;
  Launch(args, nullptr);

  const std::vector<bf16> all_q = device_qkv.ToHost(), all_k = keys.ToHost(),
                          all_v = values.ToHost();
  std::vector<bf16> actual;
  std::vector<double> expected;
  int written = 0;
  for (int t = 0; t < tokens; ++t) {
    for (int h = 0; h < all; ++h) {
      std::vector<double> head(128);
      for (int c = 0; c < 128; ++c) {
        const int column = h * 128 + c;
        head[c] = ToFloat(qkv[size_t(t) * all * 128 + column]) +
                  (shape.bias ? ToFloat(bias[column]) : 0.0f);
      }
      for (int c = 0; c < 128; ++c) {
        const bool is_value = h >= heads + kv_heads;
        const float* at_cos = &cos[positions[t] * 32];
        const float* at_sin = &sin[positions[t] * 32];
        expected.push_back(is_value ? head[c] : Turned(head, c, at_cos, at_sin));
        const int kv_head = (h - heads) % kv_heads;
        const size_t in_cache = (size_t(cache_rows[t]) * kv_heads + kv_head) * 128 + c;
        actual.push_back(h < heads  ? all_q[size_t(t) * all * 128 + h * 128 + c]
                         : is_value ? all_v[in_cache]
                                    : all_k[in_cache]);
      }
    }
  }
  CheckClose(actual, expected, 1.05, 1e-5);
  for (const bf16 value : all_k) written += !std::isnan(ToFloat(value));
  CHECK(written == tokens * kv_heads * 128);  // no other row of the cache
}

}  // namespace
}  // namespace glimpse
