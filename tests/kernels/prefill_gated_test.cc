// The wide product of a prefill, with SwiGLU, against a loop in double.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "engine/kernels/kernels.h"
#include "tests/kernels/kernel_test.h"

namespace glimpse {
namespace {

struct Shape {
  int tokens, hidden, ffn;
};

// As many pairs of blocks' channels as pairs of blocks run on 132 multiprocessors: up to 256 tokens
// are one tile there.
Shape OneTile(int tokens) { return {tokens, 64, 66 * 128}; }

kernels::PrefillGated Arguments(const DeviceArray<bf16>& x, const DeviceArray<bf16>& w,
                                const DeviceArray<bf16>& out, const Shape& shape) {
  return {x.data(), w.data(), out.data(), shape.tokens, shape.hidden, shape.ffn};
}

// x of a layer behind its norm, and weights that leave gate and up at about 1.
std::vector<bf16> RandomX(const Shape& shape, int seed) {
  return RandomBf16(size_t(shape.tokens) * shape.hidden, seed);
}
std::vector<bf16> RandomWeights(const Shape& shape, int seed) {
  return RandomBf16(size_t(2) * shape.ffn * shape.hidden, seed,
                    1.5f / std::sqrt(static_cast<float>(shape.hidden)));
}

double Dot(const bf16* a, const bf16* b, int size) {
  double sum = 0;
  for (int i = 0; i < size; ++i) sum += double{ToFloat(a[i])} * ToFloat(b[i]);
  return sum;
}

TEST_CASE("PrefillGated multiplies silu of the gates by the ups", "[gpu]") {
  // Fewer tokens than a tile and many tiles; rows of w that fill no block, and more of them than
  // run at once; columns that fill no step. Those of the 9B's width are divided into tiles of 176
  // and 160 tokens and of 240 and 224.
  const Shape shape = GENERATE(
      Shape{1, 64, 8}, Shape{2, 72, 24}, Shape{63, 192, 512}, Shape{64, 8, 136}, Shape{65, 200, 72},
      Shape{130, 1000, 136}, Shape{257, 136, 8776}, Shape{300, 64, 1096}, Shape{1666, 192, 512},
      Shape{500, 72, 13696}, Shape{1800, 72, 13696}, map(OneTile, range(128, 257, 16)));
  CAPTURE(shape.tokens, shape.hidden, shape.ffn);
  const std::vector<bf16> x = RandomX(shape, 1), w = RandomWeights(shape, 2);
  const DeviceArray<bf16> device_x(x), device_w(w), out(size_t(shape.tokens + 1) * shape.ffn);
  Launch(Arguments(device_x, device_w, out, shape), nullptr);

  const std::vector<bf16> results = out.ToHost();
  std::vector<bf16> actual;
  std::vector<double> expected;
  const int every = shape.ffn > 1000 ? 7 : 1;  // a sample of the channels: the loop is slow
  for (int token = 0; token < shape.tokens; ++token) {
    const bf16* row = &x[size_t(token) * shape.hidden];
    for (int i = token % every; i < shape.ffn; i += every) {
      const double gate = Dot(row, &w[size_t(i) * shape.hidden], shape.hidden);
      const double up = Dot(row, &w[size_t(shape.ffn + i) * shape.hidden], shape.hidden);
      actual.push_back(results[size_t(token) * shape.ffn + i]);
      expected.push_back(gate / (1 + std::exp(-gate)) * up);
    }
  }
  CheckClose(actual, expected, 1.05, 1e-5);
  for (int i = 0; i < shape.ffn; ++i) {  // behind the last token
    REQUIRE(std::isnan(ToFloat(results[size_t(shape.tokens) * shape.ffn + i])));
  }
}

TEST_CASE("PrefillGated of gates too large for exp stays finite", "[gpu]") {
  const std::vector<float> gates = {-3e38f, -200.0f, -89.0f, -88.0f, 0.0f, 88.0f, 200.0f, 1e30f};
  const Shape shape = {1, 8, 8};
  std::vector<bf16> x(8), w(2 * 8 * 8);  // zeros
  x[0] = __float2bfloat16(1.0f);
  for (int i = 0; i < 8; ++i) {
    w[i * 8] = __float2bfloat16(gates[i]);
    w[(8 + i) * 8] = __float2bfloat16(2.0f);
  }
  const DeviceArray<bf16> device_x(x), device_w(w), out(8);
  Launch(Arguments(device_x, device_w, out, shape), nullptr);
  CheckClose(out.ToHost(), {0, 0, 0, 0, 0, 176, 400, 2.0 * ToFloat(__float2bfloat16(1e30f))});
}

TEST_CASE("PrefillGated of a token depends on that token alone", "[gpu]") {
  const Shape all = {700, 320, 1096};
  std::vector<bf16> x = RandomX(all, 3);
  const std::vector<bf16> w = RandomWeights(all, 4);
  const DeviceArray<bf16> device_w(w);
  const auto run = [&](const Shape& shape) {
    const DeviceArray<bf16> device_x(x), out(size_t(shape.tokens) * shape.ffn);
    Launch(Arguments(device_x, device_w, out, shape), nullptr);
    return out.ToHost();
  };
  const std::vector<bf16> before = run(all);
  const int broken = 350;
  for (int i = 0; i < all.hidden; ++i) {
    x[size_t(broken) * all.hidden + i] = __float2bfloat16(NAN);
  }
  const size_t row = all.ffn, row_bytes = row * sizeof(bf16);
  for (const int tokens : {700, 351, 513}) {
    const std::vector<bf16> after = run({tokens, all.hidden, all.ffn});
    for (int token = 0; token < tokens; ++token) {
      CAPTURE(tokens, token);
      if (token == broken) {
        REQUIRE(std::isnan(ToFloat(after[token * row])));
      } else {
        REQUIRE(std::memcmp(&after[token * row], &before[token * row], row_bytes) == 0);
      }
    }
  }
}

}  // namespace
}  // namespace glimpse
