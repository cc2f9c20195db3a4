// Work that is cut into equal ranges, wherever the cuts fall, and the partial results of flash
// attention that the cuts leave.
//
// All work, one tile after the other, is `units` key tiles long; range r of `ranges` belongs to
// block ranges - 1 - r. A tile that a cut divides is finished by the block that has its beginning;
// the others, of the following ranges, leave what they have in the workspace: that is always the
// first thing they do. Blocks start in the order of their index and wait for lower ones alone, so
// however few run at a time, none waits in vain. What is added in which order is fixed.
#ifndef GLIMPSE_ENGINE_KERNELS_DEVICE_FLASH_PARTIALS_CUH_
#define GLIMPSE_ENGINE_KERNELS_DEVICE_FLASH_PARTIALS_CUH_

#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>

#include "engine/kernels/device/flash_softmax.cuh"
#include "engine/kernels/device/wgmma.cuh"

namespace glimpse::kernels {

struct WorkShare {
  int units;
  int ranges;
  int range;
  __device__ int Begin(int r) const {
    return static_cast<int>(static_cast<int64_t>(units) * r / ranges);
  }
};

constexpr int kMaxRanges = 264;  // blocks, and so of slots in the workspace

template <int kHeadSize, int kStrips>
struct Partials {
  static constexpr int kPacks = kHeadSize / 8 + 1;  // float4 a thread: the sums, max and sum
  static constexpr int64_t kFlagBytes = kMaxRanges * kStrips * sizeof(int);
  static constexpr int64_t kSlotBytes = kPacks * kWarpgroup * sizeof(float4);
  static constexpr int64_t kBytes = kFlagBytes + kMaxRanges * kStrips * kSlotBytes;

  void* workspace;  // kBytes; flags (zero between launches), then slots
  int strip;

  __device__ int* Flag(int range) const {
    return static_cast<int*>(workspace) + range * kStrips + strip;
  }
  __device__ float4* Slot(int range) const {
    return reinterpret_cast<float4*>(static_cast<char*>(workspace) + kFlagBytes +
                                     (range * kStrips + strip) * kSlotBytes) +
           threadIdx.x % kWarpgroup;
  }
  __device__ void SyncStrip() const {
    asm volatile("bar.sync %0, 128;" ::"r"(8 + threadIdx.x / kWarpgroup) : "memory");
  }

  __device__ void Publish(int range, const float (&o)[kHeadSize / 2], const RowStats& stats) const {
    float4* slot = Slot(range);
#pragma unroll
    for (int i = 0; i < kHeadSize / 8; ++i) {
      slot[i * kWarpgroup] = {o[4 * i], o[4 * i + 1], o[4 * i + 2], o[4 * i + 3]};
    }
    slot[kHeadSize / 8 * kWarpgroup] = {stats.max[0], stats.max[1], stats.sum[0], stats.sum[1]};
    __threadfence();
    SyncStrip();  // all have written
    if (threadIdx.x % kWarpgroup == 0) {
      asm volatile("st.release.gpu.global.s32 [%0], 1;" ::"l"(Flag(range)) : "memory");
    }
  }

  // Adds what the ranges behind `share.range` have of the tile that ends at `end_unit`.
  __device__ void Gather(const WorkShare& share, int end_unit, float scale_log2,
                         float (&o)[kHeadSize / 2], RowStats& stats) const {
    for (int range = share.range + 1; share.Begin(range) < end_unit; ++range) {
      AwaitFlag(range);
      const float4* slot = Slot(range);
      const float4 other = __ldcg(slot + kHeadSize / 8 * kWarpgroup);
      const float2 own = Weight(stats.max[0], other.x, stats.max[1], other.y, scale_log2);
      const float2 theirs = Weight(other.x, stats.max[0], other.y, stats.max[1], scale_log2);
#pragma unroll
      for (int i = 0; i < kHeadSize / 8; ++i) {
        const float4 add = __ldcg(slot + i * kWarpgroup);
        o[4 * i] = o[4 * i] * own.x + add.x * theirs.x;
        o[4 * i + 1] = o[4 * i + 1] * own.x + add.y * theirs.x;
        o[4 * i + 2] = o[4 * i + 2] * own.y + add.z * theirs.y;
        o[4 * i + 3] = o[4 * i + 3] * own.y + add.w * theirs.y;
      }
      stats.sum[0] = stats.sum[0] * own.x + other.z * theirs.x;
      stats.sum[1] = stats.sum[1] * own.y + other.w * theirs.y;
      stats.max[0] = fmaxf(stats.max[0], other.x);
      stats.max[1] = fmaxf(stats.max[1], other.y);
    }
  }

 private:
  __device__ void AwaitFlag(int range) const {
    if (threadIdx.x % kWarpgroup == 0) {
      int done = 0;
      while (done == 0) {
        asm volatile("ld.acquire.gpu.global.s32 %0, [%1];"
                     : "=r"(done)
                     : "l"(Flag(range))
                     : "memory");
      }
      *Flag(range) = 0;  // for the next launch
    }
    SyncStrip();
  }

  // By what sums shrink whose maximum was a (c in the second row) when the other's is b (d).
  __device__ static float2 Weight(float a, float b, float c, float d, float scale_log2) {
    const float top0 = fmaxf(a, b), top1 = fmaxf(c, d);
    return {top0 == -INFINITY ? 0 : exp2f((a - top0) * scale_log2),
            top1 == -INFINITY ? 0 : exp2f((c - top1) * scale_log2)};
  }
};

}  // namespace glimpse::kernels

#endif  // GLIMPSE_ENGINE_KERNELS_DEVICE_FLASH_PARTIALS_CUH_
