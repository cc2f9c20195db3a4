// Sums and maxima over a warp, four lanes of one, and a block. All its threads must take part, and
// all get the result.
#ifndef GLIMPSE_ENGINE_KERNELS_DEVICE_REDUCE_CUH_
#define GLIMPSE_ENGINE_KERNELS_DEVICE_REDUCE_CUH_

#include <cuda_runtime.h>

namespace glimpse::kernels {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = ~0u;  // of a warp take part
constexpr int kMaxWarps = 32;        // of a block

__device__ inline float WarpSum(float value) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    value += __shfl_xor_sync(kAllLanes, value, offset);
  }
  return value;
}

__device__ inline float WarpMax(float value) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, offset));
  }
  return value;
}

// Over four neighbouring lanes, which share a row of a tensor core's sums.
__device__ __forceinline__ float QuadSum(float value) {
  value += __shfl_xor_sync(kAllLanes, value, 1);
  return value + __shfl_xor_sync(kAllLanes, value, 2);
}

__device__ __forceinline__ float QuadMax(float value) {
  value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, 1));
  return fmaxf(value, __shfl_xor_sync(kAllLanes, value, 2));
}

// A block of full warps along x. `scratch`: shared memory that no other reduction of the block uses
// without a barrier between, so that one barrier is enough. The order of the additions depends on
// the block's size alone.
__device__ inline float BlockSum(float value, float (&scratch)[kMaxWarps]) {
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  value = WarpSum(value);
  if (lane == 0) scratch[warp] = value;
  __syncthreads();  // every warp's sum lies in scratch
  return WarpSum(lane < static_cast<int>(blockDim.x) / kWarp ? scratch[lane] : 0.0f);
}

}  // namespace glimpse::kernels

#endif  // GLIMPSE_ENGINE_KERNELS_DEVICE_REDUCE_CUH_
