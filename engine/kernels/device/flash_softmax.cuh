// The arithmetic between the two matrix products of flash attention, on a lane's registers.
#ifndef GLIMPSE_ENGINE_KERNELS_DEVICE_FLASH_SOFTMAX_CUH_
#define GLIMPSE_ENGINE_KERNELS_DEVICE_FLASH_SOFTMAX_CUH_

#include <cmath>
#include <cstdint>

#include "engine/kernels/device/exp2.cuh"
#include "engine/kernels/device/reduce.cuh"

namespace glimpse::kernels {

// Of a lane's two rows (wgmma.cuh says which): the largest score so far, and the lane's part of the
// sum of the weights.
struct RowStats {
  float max[2] = {-INFINITY, -INFINITY};
  float sum[2] = {0, 0};
};

// The online softmax: takes the scores of a key tile, leaves the weights
// exp2(scale_log2 (score - max)) and returns by what the sums so far shrink, row by row.
template <int kKeys>
__device__ __forceinline__ float2 OnlineSoftmax(float (&s)[kKeys / 2], RowStats& stats,
                                                float scale_log2) {
  float correction[2];
#pragma unroll
  for (int row = 0; row < 2; ++row) {
    float top = fmaxf(s[2 * row], s[2 * row + 1]);
#pragma unroll
    for (int i = 4 + 2 * row; i < kKeys / 2; i += 4) top = fmaxf(top, fmaxf(s[i], s[i + 1]));
    top = QuadMax(top);
    const float last = stats.max[row];
    stats.max[row] = fmaxf(top, last);
    // A row that has seen no key yet has the maximum -inf; 0 keeps its weights 0 and not NaN.
    const float base = stats.max[row] == -INFINITY ? 0 : stats.max[row] * scale_log2;
    correction[row] = FastExp2(last * scale_log2 - base);
    float sum = 0;
#pragma unroll
    for (int i = 2 * row; i < kKeys / 2; i += 4) {
      s[i] = FastExp2(s[i] * scale_log2 - base);
      s[i + 1] = FastExp2(s[i + 1] * scale_log2 - base);
      sum += s[i] + s[i + 1];
    }
    stats.sum[row] = stats.sum[row] * correction[row] + sum;
  }
  return {correction[0], correction[1]};
}

// Of four neighbouring lanes, the n-th gets all four's n-th word.
__device__ __forceinline__ uint4 TransposeQuad(const uint32_t* words) {
  const bool odd = threadIdx.x & 1, high = threadIdx.x & 2;
  const uint32_t a = __shfl_xor_sync(kAllLanes, odd ? words[0] : words[1], 1);
  const uint32_t b = __shfl_xor_sync(kAllLanes, odd ? words[2] : words[3], 1);
  // Now of words 0 and 1 and of 2 and 3, one each of both lanes of a pair.
  const uint2 low_pair = odd ? uint2{a, words[1]} : uint2{words[0], a};
  const uint2 high_pair = odd ? uint2{b, words[3]} : uint2{words[2], b};
  const uint32_t c = __shfl_xor_sync(kAllLanes, high ? low_pair.x : high_pair.x, 2);
  const uint32_t d = __shfl_xor_sync(kAllLanes, high ? low_pair.y : high_pair.y, 2);
  return high ? uint4{c, d, high_pair.x, high_pair.y} : uint4{low_pair.x, low_pair.y, c, d};
}

}  // namespace glimpse::kernels

#endif  // GLIMPSE_ENGINE_KERNELS_DEVICE_FLASH_SOFTMAX_CUH_
