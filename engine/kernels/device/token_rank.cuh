// Ids in the order of their scores, and the logarithm of a row's summed exponentials.
#ifndef GLIMPSE_ENGINE_KERNELS_DEVICE_TOKEN_RANK_CUH_
#define GLIMPSE_ENGINE_KERNELS_DEVICE_TOKEN_RANK_CUH_

#include <cfloat>
#include <cstdint>

#include "engine/kernels/device/exp2.cuh"
#include "engine/kernels/device/reduce.cuh"

namespace glimpse::kernels {

// (score, id) as one number, never 0: the larger of two has the higher score, or the lower id among
// equal scores (-0 equals 0). A total order, NaN included.
__device__ inline uint64_t TokenRank(float score, int id) {
  const uint32_t bits = __float_as_uint(score + 0.0f);
  const uint32_t ordered = bits >> 31 ? ~bits : bits | 0x80000000u;
  return static_cast<uint64_t>(ordered) << 32 | ~static_cast<uint32_t>(id);
}

__device__ inline int RankId(uint64_t rank) {
  return static_cast<int>(~static_cast<uint32_t>(rank));
}

__device__ inline float RankScore(uint64_t rank) {
  const uint32_t ordered = static_cast<uint32_t>(rank >> 32);
  return __uint_as_float(ordered >> 31 ? ordered & 0x7fffffffu : ~ordered);
}

__device__ inline uint64_t WarpMaxRank(uint64_t rank) {
  const uint32_t high = static_cast<uint32_t>(rank >> 32);
  const uint32_t most = __reduce_max_sync(kAllLanes, high);
  const uint32_t low =
      __reduce_max_sync(kAllLanes, high == most ? static_cast<uint32_t>(rank) : 0u);
  return static_cast<uint64_t>(most) << 32 | low;
}

// log(sum of exp(x)) as it grows: the largest x so far, and the sum of exp(x - max).
struct LogSum {
  float max = -FLT_MAX;
  float sum = 0;

  // Moves max up to `new_max`, if it is larger, before smaller values are added.
  __device__ void Raise(float new_max) {
    if (new_max <= max) return;
    sum *= FastExp2(kLog2E * (max - new_max));
    max = new_max;
  }
  __device__ void Add(const LogSum& other) {
    Raise(other.max);
    sum += other.sum * FastExp2(kLog2E * (other.max - max));
  }
  __device__ float Log() const { return max + logf(sum); }
};

__device__ inline LogSum WarpLogSum(LogSum value) {
  LogSum all;
  all.max = WarpMax(value.max);
  all.sum = WarpSum(value.sum * FastExp2(kLog2E * (value.max - all.max)));
  return all;
}

}  // namespace glimpse::kernels

#endif  // GLIMPSE_ENGINE_KERNELS_DEVICE_TOKEN_RANK_CUH_
