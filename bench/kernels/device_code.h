// The harness's own kernels.
#ifndef GLIMPSE_BENCH_KERNELS_DEVICE_CODE_H_
#define GLIMPSE_BENCH_KERNELS_DEVICE_CODE_H_

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

namespace glimpse::bench {

// Values in [-scale, scale), the same for the same seed.
struct FillRandom {
  __nv_bfloat16* out = nullptr;  // [count]
  int64_t count = 0;
  uint32_t seed = 0;
  float scale = 1;
};
void Launch(const FillRandom& args, cudaStream_t stream);

// Reads all of `data` and writes one word if its bits add up to an unlikely sum.
struct ReadAll {
  const int4* data = nullptr;  // [count]
  int64_t count = 0;
  int* out = nullptr;  // [1]
};
void Launch(const ReadAll& args, cudaStream_t stream);

}  // namespace glimpse::bench

#endif  // GLIMPSE_BENCH_KERNELS_DEVICE_CODE_H_
