// What every kernel test needs: arrays on the device, random bf16 values, one rule for "equal".
#ifndef GLIMPSE_TESTS_KERNELS_KERNEL_TEST_H_
#define GLIMPSE_TESTS_KERNELS_KERNEL_TEST_H_

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "engine/kernels/cuda_error.h"

namespace glimpse {

using bf16 = __nv_bfloat16;

// An array on the device; 16-byte aligned.
template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(const std::vector<T>& values) : size_(values.size()) {
    CheckCuda(cudaMalloc(reinterpret_cast<void**>(&data_), size_ * sizeof(T)), "cudaMalloc");
    CheckCuda(cudaMemcpy(data_, values.data(), size_ * sizeof(T), cudaMemcpyHostToDevice),
              "upload");
  }
  // Poisoned: every byte 0xff, a NaN in bf16 and float32.
  explicit DeviceArray(size_t size) : size_(size) {
    CheckCuda(cudaMalloc(reinterpret_cast<void**>(&data_), size_ * sizeof(T)), "cudaMalloc");
    CheckCuda(cudaMemset(data_, 0xff, size_ * sizeof(T)), "cudaMemset");
  }
  ~DeviceArray() { cudaFree(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* data() const { return data_; }

  // Waits for the device; throws the error of whatever ran there.
  std::vector<T> ToHost() const {
    std::vector<T> values(size_);
    CheckCuda(cudaDeviceSynchronize(), "the kernel");
    CheckCuda(cudaMemcpy(values.data(), data_, size_ * sizeof(T), cudaMemcpyDeviceToHost),
              "download");
    return values;
  }

 private:
  T* data_ = nullptr;
  const size_t size_;
};

inline std::vector<bf16> RandomBf16(size_t size, int seed, float scale = 1, float offset = 0) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(offset, scale);
  std::vector<bf16> values(size);
  for (bf16& value : values) value = __float2bfloat16(normal(random));
  return values;
}

inline float ToFloat(bf16 value) { return __bfloat162float(value); }

// Each value within `roundings` half steps of bf16 at its own size, and `absolute`; NaN never is.
inline void CheckClose(const std::vector<bf16>& actual, const std::vector<double>& expected,
                       double roundings = 1.05, double absolute = 1e-6) {
  REQUIRE(actual.size() == expected.size());
  constexpr double kHalfStep = 1.0 / 256;  // of a value, at most: eight bits of significand
  for (size_t i = 0; i < expected.size(); ++i) {
    const double allowed = absolute + roundings * kHalfStep * std::abs(expected[i]);
    const double value = ToFloat(actual[i]);
    if (!(std::abs(value - expected[i]) <= allowed)) {
      CAPTURE(i, value, expected[i], allowed);
      FAIL("out of tolerance");
    }
  }
}

}  // namespace glimpse

#endif  // GLIMPSE_TESTS_KERNELS_KERNEL_TEST_H_
