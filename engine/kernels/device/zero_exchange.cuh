// An exchange of sums between blocks through device memory that is zero between uses.
//
// It needs no flags: a word that is not there yet is zero, a sum is never stored as zero, and who
// has read a word makes it zero again. A reader waits for the writers, so all of them must be
// resident together.
#ifndef GLIMPSE_ENGINE_KERNELS_DEVICE_ZERO_EXCHANGE_CUH_
#define GLIMPSE_ENGINE_KERNELS_DEVICE_ZERO_EXCHANGE_CUH_

#include <cuda_runtime.h>

namespace glimpse::kernels {

// Of the same value, but never the bits of a word that is not there.
__device__ __forceinline__ float NeverZero(float x) { return x == 0 ? -0.0f : x; }

__device__ __forceinline__ void Put(float* to, float4 x) {
  asm volatile("st.relaxed.gpu.global.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(to),
               "f"(NeverZero(x.x)), "f"(NeverZero(x.y)), "f"(NeverZero(x.z)), "f"(NeverZero(x.w))
               : "memory");
}

__device__ __forceinline__ float4 Peek(const float* from) {
  float4 x;
  asm volatile("ld.relaxed.gpu.global.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(x.x), "=f"(x.y), "=f"(x.z), "=f"(x.w)
               : "l"(from)
               : "memory");
  return x;
}

__device__ __forceinline__ bool IsThere(float4 x) {
  auto there = [](float word) { return __float_as_uint(word) != 0; };
  return there(x.x) && there(x.y) && there(x.z) && there(x.w);
}

// Of parts 0 .. `active` - 1: waits for the four words at `first` + i * `stride`, then clears them.
// The parts from `active` on become zero.
template <int kMost>
__device__ __forceinline__ void Take(float* first, int stride, int active, float4 (&parts)[kMost]) {
  bool all = false;
#pragma unroll
  for (int i = 0; i < kMost; ++i) parts[i] = {};
  while (!all) {
    all = true;
#pragma unroll
    for (int i = 0; i < kMost; ++i) {
      if (i < active && !IsThere(parts[i])) parts[i] = Peek(first + i * stride);
    }
#pragma unroll
    for (int i = 0; i < kMost; ++i) all = all && (i >= active || IsThere(parts[i]));
  }
#pragma unroll
  for (int i = 0; i < kMost; ++i) {
    if (i < active) *reinterpret_cast<float4*>(first + i * stride) = {};
  }
}

}  // namespace glimpse::kernels

#endif  // GLIMPSE_ENGINE_KERNELS_DEVICE_ZERO_EXCHANGE_CUH_
