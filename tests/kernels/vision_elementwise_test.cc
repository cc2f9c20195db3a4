// The kernels around the vision tower's matrix products, each against a loop in double.
#include "engine/kernels/kernels.h"
#include "tests/kernels/kernel_test.h"

namespace glimpse {
namespace {

TEST_CASE("AddLayerNorm adds the normed row to x", "[gpu]") {
  const int width = GENERATE(8, 264, 1792, 1800, 8192);
  const int rows = 37;
  const float eps = 1e-3f;
  const std::vector<bf16> x = RandomBf16(size_t(rows) * width, 1);
  const std::vector<bf16> y = RandomBf16(size_t(rows) * width, 2, 2.0f, 5.0f);
  const std::vector<bf16> weight = RandomBf16(width, 3, 0.1f, 1.0f), bias = RandomBf16(width, 4);
  const DeviceArray<bf16> device_x(x), device_y(y), device_weight(weight), device_bias(bias);
  kernels::AddLayerNorm args;
  args.x = device_x.data();
  args.y = device_y.data();
  args.weight = device_weight.data();
  args.bias = device_bias.data();
  args.rows = rows;
  args.width = width;
  args.eps = eps;
  Launch(args, nullptr);

  std::vector<double> expected;
  for (int row = 0; row < rows; ++row) {
    double mean = 0, variance = 0;
    const bf16* values = &y[size_t(row) * width];
    for (int i = 0; i < width; ++i) mean += ToFloat(values[i]) / width;
    for (int i = 0; i < width; ++i) variance += std::pow(ToFloat(values[i]) - mean, 2) / width;
    for (int i = 0; i < width; ++i) {
      const double normed = (ToFloat(values[i]) - mean) / std::sqrt(variance + eps);
      expected.push_back(ToFloat(x[size_t(row) * width + i]) + normed * ToFloat(weight[i]) +
                         ToFloat(bias[i]));
    }
  }
  CheckClose(device_x.ToHost(), expected, 1.05, 1e-5);
}

TEST_CASE("AddLayerNorm of a row of equal values adds the bias", "[gpu]") {
  const int width = 1792;
  const DeviceArray<bf16> x(std::vector<bf16>(width, __float2bfloat16(2.0f)));
  const DeviceArray<bf16> y(std::vector<bf16>(width, __float2bfloat16(300.0f)));
  const DeviceArray<bf16> weight(RandomBf16(width, 1));
  const std::vector<bf16> bias = RandomBf16(width, 2);
  const DeviceArray<bf16> device_bias(bias);
  kernels::AddLayerNorm args;
  args.x = x.data();
  args.y = y.data();
  args.weight = weight.data();
  args.bias = device_bias.data();
  args.rows = 1;
  args.width = width;
  args.eps = 1e-6f;
  Launch(args, nullptr);
  std::vector<double> expected;
  for (const bf16 value : bias) expected.push_back(2.0 + ToFloat(value));
  CheckClose(x.ToHost(), expected, 1.05, 1e-5);
}

TEST_CASE("Patches are the patch convolution's rows, normalised", "[gpu]") {
  const int patch = GENERATE(2, 4, 14);
  const int grid = 6, size = grid * patch, pictures = 3, area = patch * patch;
  std::mt19937 random(1);
  std::vector<uint8_t> pixels(size_t(pictures) * size * size * 3);
  for (uint8_t& pixel : pixels) pixel = static_cast<uint8_t>(random());
  const DeviceArray<uint8_t> device_pixels(pixels);
  const DeviceArray<bf16> out(pixels.size());
  kernels::Patches args;
  args.pixels = device_pixels.data();
  args.out = out.data();
  args.pictures = pictures;
  args.size = size;
  args.patch = patch;
  Launch(args, nullptr);

  const double mean[] = {0.48145466, 0.4578275, 0.40821073};
  const double deviation[] = {0.26862954, 0.26130258, 0.27577711};
  std::vector<double> expected(pixels.size());
  for (size_t i = 0; i < pixels.size(); ++i) {
    const size_t channel = i % 3, x = i / 3 % size, y = i / 3 / size % size;
    const size_t picture = i / 3 / size / size;
    const size_t row = (picture * grid + y / patch) * grid + x / patch;
    expected[(row * 3 + channel) * area + y % patch * patch + x % patch] =
        (pixels[i] / 255.0 - mean[channel]) / deviation[channel];
  }
  CheckClose(out.ToHost(), expected);
}

}  // namespace
}  // namespace glimpse
