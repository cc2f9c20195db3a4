// Sums and maxima over a warp and over a block. All threads of it must take part, and all get the
// result.
#ifndef GLIMPSE_ENGINE_KERNELS_DEVICE_REDUCE_CUH_
#define GLIMPSE_ENGINE_KERNELS_DEVICE_REDUCE_CUH_

namespace glimpse::kernels {

constexpr int kWarp = 32;
constexpr int kMaxWarps = 32;  // of a block

__device__ inline float WarpSum(float value) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    value += __shfl_xor_sync(0xffffffffu, value, offset);
  }
  return value;
}

__device__ inline float WarpMax(float value) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, offset));
  }
  return value;
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
