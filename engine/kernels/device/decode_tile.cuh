// One warp's attention of 16 query heads over tiles of 16 keys, as the copy engine leaves them in
// shared memory: keys or values [16, 128] in two halves of 64 channels with the 128-byte swizzle.
#ifndef GLIMPSE_ENGINE_KERNELS_DEVICE_DECODE_TILE_CUH_
#define GLIMPSE_ENGINE_KERNELS_DEVICE_DECODE_TILE_CUH_

#include <cmath>
#include <cstdint>

#include "engine/kernels/device/exp2.cuh"
#include "engine/kernels/device/mma.cuh"
#include "engine/kernels/device/pack.cuh"
#include "engine/kernels/device/reduce.cuh"
#include "engine/kernels/kernels.h"

namespace glimpse::kernels {

constexpr int kTileKeys = kKvBlockRows;
constexpr int kHeadBytes = kHeadSize * sizeof(bf16);
constexpr int kHalfBytes = kTileKeys * kHeadBytes;  // the keys, or the values, of a tile
static_assert(kTileKeys == 16 && kMaxGroup == 16, "a product's sides");

// Address of 16 bytes (8 channels, chunk 0 .. 15) of a row of a half tile, or of q, which lies
// alike.
__device__ __forceinline__ uint32_t ChunkAddress(uint32_t half, int row, int chunk) {
  return half + chunk / 8 * (kHalfBytes / 2) + row * (kHeadBytes / 2) + (chunk % 8 ^ row % 8) * 16;
}

__device__ __forceinline__ void StoreShared(uint32_t to, uint4 value) {
  asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(value.x), "r"(value.y),
               "r"(value.z), "r"(value.w)
               : "memory");
}

// Scores of the 16 heads (rows) for the 16 keys of a tile (two products), in units of log2.
__device__ __forceinline__ void Score(uint32_t q, uint32_t keys, int valid, float (&scores)[2][4]) {
  const int lane = threadIdx.x % kWarp;
  float odd[2][4] = {};  // halves the chains of dependent products
#pragma unroll
  for (int i = 0; i < kHeadSize / 16; ++i) {
    uint32_t a[4], k[4];
    LoadMatrices(a, ChunkAddress(q, lane % 16, 2 * i + lane / 16));
    LoadMatrices(k, ChunkAddress(keys, lane / 16 * 8 + lane % 8, 2 * i + lane / 8 % 2));
    MultiplyAdd(i % 2 ? odd[0] : scores[0], a, k[0], k[1]);
    MultiplyAdd(i % 2 ? odd[1] : scores[1], a, k[2], k[3]);
  }
  constexpr float kScale = 0.08838834764831845f * kLog2E;  // 128^-1/2 log2(e)
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    float& score = scores[i / 4][i % 4];
    const int key = i / 4 * 8 + lane % 4 * 2 + i % 2;
    score = key < valid ? (score + odd[i / 4][i % 4]) * kScale : -INFINITY;
  }
}

// Where a warp's sum of a head's channel lies: rows of a product on different banks.
__device__ __forceinline__ int SumAt(int head, int channel) {
  return head * kHeadSize + (channel ^ head % 4 * 8);
}

// A warp's sums over its tiles, not yet divided by the sum of the probabilities, which a column of
// ones yields.
struct Sums {
  float maximum[2] = {-INFINITY, -INFINITY};  // of heads g and g + 8
  float out[kHeadSize / 8][4] = {};
  float ones[4] = {};

  __device__ __forceinline__ void Raise(const float (&scores)[2][4]);
  __device__ __forceinline__ void Add(const float (&scores)[2][4], uint32_t values);
  __device__ __forceinline__ void Store(float* to, float2* totals) const;
};

// Takes the new scores into the maxima, and shrinks the sums by what those have grown.
__device__ __forceinline__ void Sums::Raise(const float (&scores)[2][4]) {
  float factors[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    float high = fmaxf(fmaxf(scores[0][2 * i], scores[0][2 * i + 1]),
                       fmaxf(scores[1][2 * i], scores[1][2 * i + 1]));
    high = fmaxf(QuadMax(high), maximum[i]);
    factors[i] = exp2f(maximum[i] - high);
    maximum[i] = high;
  }
  if (__all_sync(kAllLanes, factors[0] == 1 && factors[1] == 1)) return;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    ones[i] *= factors[i / 2];
#pragma unroll
    for (auto& columns : out) columns[i] *= factors[i / 2];
  }
}

// Adds a tile's values by their probabilities, which Raise's maxima keep at most 1.
__device__ __forceinline__ void Sums::Add(const float (&scores)[2][4], uint32_t values) {
  const float a = maximum[0], b = maximum[1];
  const uint32_t p[4] = {PackBf16(exp2f(scores[0][0] - a), exp2f(scores[0][1] - a)),
                         PackBf16(exp2f(scores[0][2] - b), exp2f(scores[0][3] - b)),
                         PackBf16(exp2f(scores[1][0] - a), exp2f(scores[1][1] - a)),
                         PackBf16(exp2f(scores[1][2] - b), exp2f(scores[1][3] - b))};
  const int lane = threadIdx.x % kWarp;
#pragma unroll
  for (int i = 0; i < kHeadSize / 16; ++i) {
    uint32_t v[4];
    LoadTransposed(v, ChunkAddress(values, lane % 16, 2 * i + lane / 16));
    MultiplyAdd(out[2 * i], p, v[0], v[1]);
    MultiplyAdd(out[2 * i + 1], p, v[2], v[3]);
  }
  constexpr uint32_t kOnes = 0x3F803F80;  // two ones in bfloat16
  MultiplyAdd(ones, p, kOnes, kOnes);
}

// `to` [16, 128] as SumAt says, `totals` [16].
__device__ __forceinline__ void Sums::Store(float* to, float2* totals) const {
  const int g = threadIdx.x % kWarp / 4, t = threadIdx.x % 4;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int head = g + 8 * half;
#pragma unroll
    for (int i = 0; i < kHeadSize / 8; ++i) {
      *reinterpret_cast<float2*>(to + SumAt(head, 8 * i + 2 * t)) = {out[i][2 * half],
                                                                     out[i][2 * half + 1]};
    }
    if (t == 0) totals[head] = {maximum[half], ones[2 * half]};
  }
}

}  // namespace glimpse::kernels

#endif  // GLIMPSE_ENGINE_KERNELS_DEVICE_DECODE_TILE_CUH_
