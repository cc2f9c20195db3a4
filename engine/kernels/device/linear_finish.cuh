// What a decode product does with finished sums.
#ifndef GLIMPSE_ENGINE_KERNELS_DEVICE_LINEAR_FINISH_CUH_
#define GLIMPSE_ENGINE_KERNELS_DEVICE_LINEAR_FINISH_CUH_

#include <cuda_bf16.h>

#include <cstdint>

#include "engine/kernels/decode_linear.h"
#include "engine/kernels/device/reduce.cuh"
#include "engine/kernels/kernels.h"

namespace glimpse::kernels {

// ---- Of joined sums: a lane has two channels of two rows, y[row] = {channel, channel + 1}.

struct Quad {
  int row;      // and the next
  int channel;  // and the next: even
  bool valid;
};

// What a finish needs beside the sums, so that it can be loaded ahead of them.
struct ResidualAhead {
  float2 residual[2] = {};
  __nv_bfloat162 weight = {};
};
struct QkvAhead {
  __nv_bfloat162 bias = {};
  float cos[2] = {1, 1}, sin[2] = {0, 0};
  int cache_rows[2] = {};
};

__device__ __forceinline__ ResidualAhead LoadAhead(const ResidualFinish& to, const Quad& at) {
  ResidualAhead ahead;
  if (!at.valid) return ahead;
  const int64_t first = static_cast<int64_t>(at.row) * to.out + at.channel;
  ahead.residual[0] = __ldcg(reinterpret_cast<const float2*>(to.residual + first));
  ahead.residual[1] = __ldcg(reinterpret_cast<const float2*>(to.residual + first + to.out));
  ahead.weight = *reinterpret_cast<const __nv_bfloat162*>(to.weight + at.channel);
  return ahead;
}

__device__ __forceinline__ void Finish(const ResidualFinish& to, const Quad& at, int rows,
                                       const ResidualAhead& ahead, const float2 (&y)[2]) {
  const float2 weight = __bfloat1622float2(ahead.weight);
  float squares[2] = {};
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const float2 sum = {ahead.residual[i].x + y[i].x, ahead.residual[i].y + y[i].y};
    if (at.valid) {
      const int64_t first = static_cast<int64_t>(at.row + i) * to.out + at.channel;
      *reinterpret_cast<float2*>(to.residual + first) = sum;
      *reinterpret_cast<__nv_bfloat162*>(to.x + first) =
          __floats2bfloat162_rn(sum.x * weight.x, sum.y * weight.y);
      squares[i] = sum.x * sum.x + sum.y * sum.y;
    }
#pragma unroll
    for (int lanes = 1; lanes < kLinearTile / 2; lanes *= 2) {
      squares[i] += __shfl_xor_sync(kAllLanes, squares[i], lanes);
    }
  }
  if (at.valid && threadIdx.x % (kLinearTile / 2) == 0) {
    *reinterpret_cast<float2*>(to.sum_squares + at.channel / kLinearTile * rows + at.row) = {
        squares[0], squares[1]};
  }
}

__device__ __forceinline__ bool IsTurned(const QkvFinish& to, int channel) {
  return channel % kHeadSize < 2 * kRotaryPairs && channel / kHeadSize < to.heads + to.kv_heads;
}

__device__ __forceinline__ QkvAhead LoadAhead(const QkvFinish& to, const Quad& at) {
  QkvAhead ahead;
  if (!at.valid) return ahead;
  if (to.bias != nullptr) {
    ahead.bias = *reinterpret_cast<const __nv_bfloat162*>(to.bias + at.channel);
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    ahead.cache_rows[i] = __ldg(to.cache_rows + at.row + i);
    if (IsTurned(to, at.channel)) {
      const int angle =
          __ldg(to.positions + at.row + i) * kRotaryPairs + at.channel % kHeadSize / 2;
      ahead.cos[i] = __ldg(to.cos + angle);
      ahead.sin[i] = __ldg(to.sin + angle);
    }
  }
  return ahead;
}

__device__ __forceinline__ void Finish(const QkvFinish& to, const Quad& at, int,
                                       const QkvAhead& ahead, const float2 (&y)[2]) {
  if (!at.valid) return;
  const int head = at.channel / kHeadSize, kv = head - to.heads;
  bf16* cache = kv < to.kv_heads ? to.keys : to.values;
  const float2 bias = __bfloat1622float2(ahead.bias);
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const float a = y[i].x + bias.x, b = y[i].y + bias.y;
    const int64_t cache_head =
        static_cast<int64_t>(ahead.cache_rows[i]) * to.kv_heads + kv % to.kv_heads;
    bf16* out = kv < 0 ? to.q + (static_cast<int64_t>(at.row + i) * to.heads + head) * kHeadSize
                       : cache + cache_head * kHeadSize;
    *reinterpret_cast<__nv_bfloat162*>(out + at.channel % kHeadSize) = __floats2bfloat162_rn(
        a * ahead.cos[i] - b * ahead.sin[i], b * ahead.cos[i] + a * ahead.sin[i]);
  }
}

// ---- Of sums in registers, as wgmma leaves them: a lane has channels c and c + 8 of a tile of 64,
// and of every eight rows two.

struct Fragment {
  int first;            // channel of the tile's first row
  int begin, end;       // channels that are ours
  const float* scales;  // [kRows]

  __device__ int Channel() const { return threadIdx.x / kWarp % 4 * 16 + threadIdx.x % kWarp / 4; }
  __device__ int Row(int eight) const { return 8 * eight + 2 * (threadIdx.x % 4); }
};

// Of W's rows, eight gates and the same eight of up follow each other: a lane's two channels are
// both of one channel of x.
template <int kRows>
__device__ __forceinline__ void Finish(const SwigluFinish& to, const Fragment& at,
                                       const float (&sums)[kRows / 2]) {
  const int in_tile = at.Channel(), row_of_w = at.first + in_tile;
  const int channel = row_of_w / 16 * 8 + row_of_w % 8;
  const bool valid = row_of_w >= at.begin && row_of_w < at.end && channel < to.out;
  const int odd = channel % 2;
#pragma unroll
  for (int eight = 0; eight < kRows / 8; ++eight) {
    float value[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const float scale = at.scales[at.Row(eight) + i];
      const float gate = sums[4 * eight + i] * scale, up = sums[4 * eight + i + 2] * scale;
      value[i] = gate / (1 + __expf(-gate)) * up;
    }
    // Of two lanes with neighbouring channels, each stores both channels of one row.
    const float other = __shfl_xor_sync(kAllLanes, odd ? value[0] : value[1], 4);
    if (!valid) continue;
    const __nv_bfloat162 pair =
        odd ? __floats2bfloat162_rn(other, value[1]) : __floats2bfloat162_rn(value[0], other);
    *reinterpret_cast<__nv_bfloat162*>(to.x + static_cast<int64_t>(at.Row(eight) + odd) * to.out +
                                       channel - odd) = pair;
  }
}

template <int kRows>
__device__ __forceinline__ void Finish(const LogitsFinish& to, const Fragment& at,
                                       const float (&sums)[kRows / 2]) {
#pragma unroll
  for (int second = 0; second < 2; ++second) {
    const int channel = at.first + at.Channel() + 8 * second;
    if (channel < at.begin || channel >= min(at.end, to.out)) continue;
#pragma unroll
    for (int i = 0; i < kRows / 4; ++i) {
      const int row = at.Row(i / 2) + i % 2;
      to.logits[static_cast<int64_t>(row) * to.out + channel] =
          sums[i / 2 * 4 + 2 * second + i % 2] * at.scales[row];
    }
  }
}

}  // namespace glimpse::kernels

#endif  // GLIMPSE_ENGINE_KERNELS_DEVICE_LINEAR_FINISH_CUH_
