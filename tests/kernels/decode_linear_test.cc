// The products of a decode step against plain loops in double, on sizes that fill no tile.
#include "engine/kernels/decode_linear.h"

#include <algorithm>
#include <cstring>

#include "tests/kernels/kernel_test.h"

namespace glimpse {
namespace {

using kernels::LinearOperands;
using kernels::MatrixShape;

constexpr int kTile = kernels::kLinearTile;

std::vector<float> RandomFloats(size_t size, int seed, float offset = 0) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(offset, 1);
  std::vector<float> values(size);
  for (float& value : values) value = normal(random);
  return values;
}

// One product's operands, on the host and on the device.
struct Product {
  // `matrices`: two, one below the other, for gate and up.
  Product(MatrixShape shape_of_w, int num_rows, int matrices = 1)
      : shape(shape_of_w),
        rows(num_rows),
        w(RandomBf16(size_t(matrices) * shape.out * shape.in, 1, 0.05f)),
        x(RandomBf16(size_t(rows) * shape.in, 2)),
        device_w(w),
        device_x(x) {}

  LinearOperands Operands(decltype(kernels::MakeLinear)* make = kernels::MakeLinear) const {
    return make(device_w.data(), shape, device_x.data(), rows);
  }

  double Sum(int row, int channel) const {
    double sum = 0;
    for (int i = 0; i < shape.in; ++i) {
      sum += double{ToFloat(w[size_t(channel) * shape.in + i])} *
             ToFloat(x[size_t(row) * shape.in + i]);
    }
    return sum;
  }

  const MatrixShape shape;
  const int rows;
  const std::vector<bf16> w, x;
  const DeviceArray<bf16> device_w, device_x;
};

// RMSNorm's statistics, invented: they need not fit x.
struct Statistics {
  Statistics(int tiles, int rows) : sums(RandomFloats(size_t(tiles) * rows, 3, 20)), device(sums) {
    for (int row = 0; row < rows; ++row) {
      double sum = 0;
      for (int tile = 0; tile < tiles; ++tile) sum += sums[size_t(tile) * rows + row];
      factors.push_back(1 / std::sqrt(sum / (tiles * kTile) + 0.5));
    }
  }
  kernels::RowStatistics Of(int tiles) const { return {device.data(), tiles, tiles * kTile, 0.5f}; }

  const std::vector<float> sums;
  const DeviceArray<float> device;
  std::vector<double> factors;  // of the rows
};

void CheckFloats(const std::vector<float>& actual, const std::vector<double>& expected) {
  REQUIRE(actual.size() == expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    if (!(std::abs(actual[i] - expected[i]) <= 1e-4 + 1e-4 * std::abs(expected[i]))) {
      CAPTURE(i, actual[i], expected[i]);
      FAIL("out of tolerance");
    }
  }
}

std::vector<float> Logits(const Product& product, const LinearOperands& linear) {
  DeviceArray<float> logits(size_t(product.rows) * product.shape.out);
  Launch(linear, kernels::LogitsFinish{logits.data(), product.shape.out}, nullptr);
  return logits.ToHost();
}

template <typename T>
bool BitsEqual(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

TEST_CASE("logits are the products of x and W, scaled by the rows' factors", "[gpu]") {
  const int rows = GENERATE(8, 16, 32, 64);
  const MatrixShape shape = GENERATE(MatrixShape{1536, 192}, MatrixShape{1541, 192},
                                     MatrixShape{3, 64}, MatrixShape{26003, 64});
  CAPTURE(rows, shape.out, shape.in);
  const Product product(shape, rows);
  const Statistics statistics(5, rows);
  LinearOperands linear = product.Operands(kernels::MakeHeadLinear);
  linear.statistics = statistics.Of(5);
  std::vector<double> expected;
  for (int row = 0; row < rows; ++row) {
    for (int c = 0; c < shape.out; ++c) {
      expected.push_back(product.Sum(row, c) * statistics.factors[row]);
    }
  }
  CheckFloats(Logits(product, linear), expected);
}

TEST_CASE("gate and up make the activation", "[gpu]") {
  const int rows = GENERATE(8, 16, 32, 64);
  const MatrixShape shape = GENERATE(MatrixShape{512, 192}, MatrixShape{8, 64},
                                     MatrixShape{1000, 192}, MatrixShape{17000, 64});
  CAPTURE(rows, shape.out, shape.in);
  const Product product(shape, rows, 2);
  const Statistics statistics(6, rows);
  LinearOperands linear = product.Operands(kernels::MakeGatedLinear);
  linear.statistics = statistics.Of(6);
  DeviceArray<bf16> x(size_t(rows) * shape.out);
  Launch(linear, kernels::SwigluFinish{x.data(), shape.out}, nullptr);
  std::vector<double> expected;
  for (int row = 0; row < rows; ++row) {
    for (int c = 0; c < shape.out; ++c) {
      const double gate = product.Sum(row, c) * statistics.factors[row];
      const double up = product.Sum(row, shape.out + c) * statistics.factors[row];
      expected.push_back(gate / (1 + std::exp(-gate)) * up);
    }
  }
  CheckClose(x.ToHost(), expected, 1.05, 1e-5);
}

TEST_CASE("a residual takes the sums and becomes the next x with its statistics", "[gpu]") {
  const int rows = GENERATE(8, 16, 32, 64);
  const MatrixShape shape = GENERATE(MatrixShape{192, 512}, MatrixShape{32, 64},
                                     MatrixShape{4096, 192}, MatrixShape{2080, 960});
  CAPTURE(rows, shape.out, shape.in);
  const Product product(shape, rows);
  const size_t size = size_t(rows) * shape.out;
  const std::vector<float> before = RandomFloats(size, 4);
  const std::vector<bf16> weight = RandomBf16(shape.out, 5, 0.1f, 1);
  const DeviceArray<float> residual(before), sums(size_t(shape.out / kTile) * rows);
  const DeviceArray<bf16> device_weight(weight), x(size);
  Launch(product.Operands(),
         kernels::ResidualFinish{residual.data(), device_weight.data(), x.data(), sums.data(),
                                 shape.out},
         nullptr);
  std::vector<double> after, next, squares(size_t(shape.out / kTile) * rows);
  for (int row = 0; row < rows; ++row) {
    for (int c = 0; c < shape.out; ++c) {
      after.push_back(before[after.size()] + product.Sum(row, c));
      next.push_back(after.back() * ToFloat(weight[c]));
      squares[size_t(c / kTile) * rows + row] += after.back() * after.back();
    }
  }
  CheckFloats(residual.ToHost(), after);
  CheckClose(x.ToHost(), next, 1.05, 1e-5);
  CheckFloats(sums.ToHost(), squares);
}

// Queries, keys and values of random positions, and where they belong.
struct Qkv {
  static constexpr int kPositions = 50, kCacheRows = 200;

  Qkv(int num_heads, int num_kv_heads, int num_rows)
      : heads(num_heads), kv_heads(num_kv_heads), rows(num_rows) {
    for (int row = 0; row < rows; ++row) {
      positions.push_back(row * 7 % kPositions);
      cache_rows.push_back(row * 3 + 1);
    }
  }
  int Out() const { return (heads + 2 * kv_heads) * 128; }

  // y with the bias: of channel c of one row, turned if it is to be.
  double Turned(const std::vector<double>& y, int c, int row) const {
    if (c % 128 >= 64 || c / 128 >= heads + kv_heads) return y[c];
    const size_t angle = size_t(positions[row]) * 32 + c % 128 / 2;
    return c % 2 == 0 ? y[c] * cos[angle] - y[c + 1] * sin[angle]
                      : y[c] * cos[angle] + y[c - 1] * sin[angle];
  }

  const int heads, kv_heads, rows;
  const std::vector<bf16> bias = RandomBf16(size_t(Out()), 6);
  const std::vector<float> cos = RandomFloats(kPositions * 32, 7);
  const std::vector<float> sin = RandomFloats(kPositions * 32, 8);
  std::vector<int32_t> positions, cache_rows;
};

TEST_CASE("queries are turned, keys and values go to their rows of the cache", "[gpu]") {
  const int rows = GENERATE(8, 16, 32, 64);
  const bool tiny = GENERATE(true, false);
  const Qkv qkv(tiny ? 16 : 32, tiny ? 2 : 5, rows);
  CAPTURE(rows, tiny);
  const Product product({qkv.Out(), tiny ? 192 : 320}, rows);
  const DeviceArray<bf16> bias(qkv.bias);
  const DeviceArray<float> cos(qkv.cos), sin(qkv.sin);
  const DeviceArray<int32_t> positions(qkv.positions), cache_rows(qkv.cache_rows);
  const size_t cache_size = size_t(Qkv::kCacheRows) * qkv.kv_heads * 128;
  const std::vector<bf16> old = RandomBf16(cache_size, 9);
  const DeviceArray<bf16> q(size_t(rows) * qkv.heads * 128), keys(old), values(old);
  Launch(
      product.Operands(),
      kernels::QkvFinish{bias.data(), cos.data(), sin.data(), positions.data(), cache_rows.data(),
                         q.data(), keys.data(), values.data(), qkv.heads, qkv.kv_heads},
      nullptr);
  std::vector<double> expected_q, expected_keys, expected_values;
  for (const bf16 value : old) expected_keys.push_back(ToFloat(value));
  expected_values = expected_keys;
  for (int row = 0; row < rows; ++row) {
    std::vector<double> y;
    for (int c = 0; c < qkv.Out(); ++c) y.push_back(product.Sum(row, c) + ToFloat(qkv.bias[c]));
    for (int c = 0; c < qkv.Out(); ++c) {
      const double value = qkv.Turned(y, c, row);
      const int kv = c / 128 - qkv.heads;
      if (kv < 0) {
        expected_q.push_back(value);
      } else {
        auto& cache = kv < qkv.kv_heads ? expected_keys : expected_values;
        const size_t head = size_t(qkv.cache_rows[row]) * qkv.kv_heads + kv % qkv.kv_heads;
        cache[head * 128 + c % 128] = value;
      }
    }
  }
  CheckClose(q.ToHost(), expected_q, 1.05, 1e-5);
  CheckClose(keys.ToHost(), expected_keys, 1.05, 1e-5);
  CheckClose(values.ToHost(), expected_values, 1.05, 1e-5);
}

// Products that feed each other, each started while the one before it still runs.
class Chain {
 public:
  explicit Chain(int rows) : rows_(rows) {
    wide_ = kernels::MakeGatedLinear(up_.data(), {kFfn, kHidden}, x_.data(), rows);
    wide_.statistics = {sums_.data(), kHidden / kTile, kHidden, 1e-5f};
    narrow_ = kernels::MakeLinear(down_.data(), {kHidden, kFfn}, inner_.data(), rows);
  }

  // The residual after some layers from the same beginning.
  std::vector<float> Run(bool wait) const {
    const auto restore = [](auto& to, const auto& from) {
      CheckCuda(
          cudaMemcpy(to.data(), from.data(), from.size() * sizeof(from[0]), cudaMemcpyHostToDevice),
          "restore");
    };
    restore(x_, first_x_);
    restore(residual_, first_residual_);
    restore(sums_, first_sums_);
    for (int layer = 0; layer < 3; ++layer) {
      Launch(wide_, kernels::SwigluFinish{inner_.data(), kFfn}, nullptr);
      if (wait) CheckCuda(cudaDeviceSynchronize(), "wide");
      Launch(narrow_,
             kernels::ResidualFinish{residual_.data(), weight_.data(), x_.data(), sums_.data(),
                                     kHidden},
             nullptr);
      if (wait) CheckCuda(cudaDeviceSynchronize(), "narrow");
    }
    return residual_.ToHost();
  }

 private:
  static constexpr int kHidden = 4096, kFfn = 512;

  const int rows_;
  const std::vector<bf16> first_x_ = RandomBf16(size_t(rows_) * kHidden, 14);
  const std::vector<float> first_residual_ = RandomFloats(size_t(rows_) * kHidden, 15);
  const std::vector<float> first_sums_ = RandomFloats(size_t(kHidden / kTile) * rows_, 16, 30);
  const DeviceArray<bf16> up_{RandomBf16(size_t(2) * kFfn * kHidden, 11, 0.05f)};
  const DeviceArray<bf16> down_{RandomBf16(size_t(kHidden) * kFfn, 12, 0.05f)};
  const DeviceArray<bf16> weight_{RandomBf16(kHidden, 13, 0.1f, 1)};
  const DeviceArray<bf16> x_{first_x_}, inner_{size_t(rows_) * kFfn};
  const DeviceArray<float> residual_{first_residual_}, sums_{first_sums_};
  LinearOperands wide_, narrow_;
};

TEST_CASE("a chain of products gives the same bits whether or not they overlap", "[gpu]") {
  const int rows = GENERATE(8, 16, 32, 64);
  CAPTURE(rows);
  const Chain chain(rows);
  const std::vector<float> apart = chain.Run(true);
  for (int i = 0; i < 30; ++i) REQUIRE(BitsEqual(chain.Run(false), apart));
}

TEST_CASE("what a padding row holds, even NaN, stays in its row", "[gpu]") {
  const int rows = GENERATE(8, 16, 32, 64);
  const MatrixShape shape = GENERATE(MatrixShape{264, 128}, MatrixShape{4096, 64});
  CAPTURE(rows, shape.out);
  const Product product(shape, rows);
  const auto run = [&](bool poisoned) {
    std::vector<bf16> x = product.x;
    if (poisoned) std::fill(x.end() - shape.in, x.end(), __float2bfloat16(NAN));
    const DeviceArray<bf16> device_x(x);
    std::vector<float> all = Logits(
        product, kernels::MakeHeadLinear(product.device_w.data(), shape, device_x.data(), rows));
    CHECK(std::isnan(all.back()) == poisoned);
    all.resize(size_t(rows - 1) * shape.out);
    return all;
  };
  CHECK(BitsEqual(run(true), run(false)));
}

}  // namespace
}  // namespace glimpse
