// How a decode product's blocks get their operands: the work of each, the ring in its shared memory
// that one thread keeps filled with W and x, and RMSNorm's factors of x, which another warp adds
// up.
#ifndef GLIMPSE_ENGINE_KERNELS_DEVICE_LINEAR_RING_CUH_
#define GLIMPSE_ENGINE_KERNELS_DEVICE_LINEAR_RING_CUH_

#include <cstdint>
#include <type_traits>

#include "engine/kernels/decode_linear.h"
#include "engine/kernels/device/mbarrier.cuh"
#include "engine/kernels/device/pdl.cuh"
#include "engine/kernels/device/reduce.cuh"
#include "engine/kernels/device/tma.cuh"

namespace glimpse::kernels {

constexpr int kBoxColumns = 64;  // of a copy: one swizzle wide
constexpr int kRowBytes = kBoxColumns * 2;
constexpr int kUnit = 64;  // rows of W that a warpgroup multiplies at once
constexpr int kRingBytes = 112 << 10;
constexpr int kSharedBytes = kRingBytes + 1024;  // half of a multiprocessor's
constexpr int kMaxStages = 16;
constexpr int kConsumerWarps = 8;  // two warpgroups

constexpr int kPlainBlocks = 2;  // of a cluster, which share the tiles of a plain product
constexpr int BlocksOf(LinearKind kind) { return kind == LinearKind::kPlain ? kPlainBlocks : 1; }
// Units of a tile, at most: a plain tile has one a warpgroup, the others two.
constexpr int UnitsOf(LinearKind kind) { return kind == LinearKind::kPlain ? 2 : 4; }
// Boxes of a step: the larger the fewer copies, but a stage is the ring's grain.
constexpr int BoxesOf(LinearKind kind, int rows) {
  return kind == LinearKind::kPlain && rows <= 32 ? 2 : 1;
}

// What is fixed for a number of rows and a finish.
template <int kRowsOfX, typename Finish>
struct LinearPlan {
  using FinishType = Finish;
  static constexpr LinearKind kKind = std::is_same_v<Finish, SwigluFinish>   ? LinearKind::kGated
                                      : std::is_same_v<Finish, LogitsFinish> ? LinearKind::kHead
                                                                             : LinearKind::kPlain;
  static constexpr int kRows = kRowsOfX;
  static constexpr int kBlocks = BlocksOf(kKind);
  static constexpr int kUnits = UnitsOf(kKind) / 2;  // of a warpgroup
  static constexpr int kBoxes = BoxesOf(kKind, kRows);
  using Sums = float[kUnits][kRows / 2];
};

// A block's shared memory behind the ring.
template <int kRows>
struct LinearShared {
  uint64_t full[kMaxStages];
  uint64_t empty[kMaxStages];
  uint64_t scales_ready;
  uint64_t ring_free;    // all blocks of the cluster have multiplied
  uint64_t parts_ready;  // their sums lie in the rings
  float scales[kRows];   // RMSNorm's factors

  // By one thread, before a barrier of the block.
  __device__ void Init() {
    for (int i = 0; i < kMaxStages; ++i) {
      InitBarrier(&full[i], 1);
      InitBarrier(&empty[i], kConsumerWarps);
    }
    InitBarrier(&scales_ready, kWarp);
    InitBarrier(&ring_free, kConsumerWarps * kPlainBlocks);
    InitBarrier(&parts_ready, 1);
    FenceBarrierInit();
  }
  __device__ void ExpectParts(int bytes) { ArriveAndExpect(&parts_ready, bytes); }
};

// What a block does: steps [first, first + steps) of the tiles worker, worker + workers, ... A
// stage of the ring holds a step: the boxes of the tile's rows of W, then as many of all rows of x.
struct LinearWork {
  int worker, workers;  // a worker is a block, or a cluster
  int rank;             // of the block in the cluster
  int tiles;            // of the worker
  int first, steps;
  int w_bytes, stage_bytes, stages;

  template <typename P>
  __device__ static LinearWork Of(const LinearOperands& linear) {
    LinearWork work;
    work.worker = blockIdx.x / P::kBlocks;
    work.workers = gridDim.x / P::kBlocks;
    work.rank = blockIdx.x % P::kBlocks;
    const int tiles = (linear.out + linear.tile_rows - 1) / linear.tile_rows;
    work.tiles = P::kKind == LinearKind::kPlain
                     ? 1
                     : (tiles - work.worker + work.workers - 1) / work.workers;
    constexpr int kColumns = P::kBoxes * kBoxColumns;
    const int all = (linear.in + kColumns - 1) / kColumns;
    work.first = all * work.rank / P::kBlocks;
    work.steps = all * (work.rank + 1) / P::kBlocks - work.first;
    work.w_bytes = P::kBoxes * linear.tile_rows * kRowBytes;
    work.stage_bytes = work.w_bytes + P::kBoxes * P::kRows * kRowBytes;
    // Where a tile does not fill its unit, wgmma reads beyond the last box.
    const int beyond = kUnit - linear.tile_rows - P::kBoxes * P::kRows;
    work.stages = min(kMaxStages, (kRingBytes - max(beyond, 0) * kRowBytes) / work.stage_bytes);
    return work;
  }
};

// The thread that copies one step after the other into one stage after the other.
template <typename P>
class LinearProducer {
 public:
  __device__ LinearProducer(const LinearOperands& linear, const LinearWork& work, uint8_t* ring,
                            LinearShared<P::kRows>& shared)
      : linear_(linear), work_(work), ring_(ring), shared_(shared) {}

  __device__ void Run() {
    const int all = work_.tiles * work_.steps, ahead = min(all, work_.stages);
    PrefetchMap(&linear_.x);
    Start();
    for (int i = 0; i < ahead; ++i, Advance()) CopyWeights();
    WaitForKernelBefore();
    Start();
    for (int i = 0; i < ahead; ++i, Advance()) CopyX();
    for (int i = ahead; i < all; ++i, Advance()) {
      Wait(&shared_.empty[at_.stage], (at_.round - 1) & 1);
      CopyWeights();
      CopyX();
    }
  }

 private:
  __device__ void Start() {
    step_ = 0;
    at_ = {};
    box_ = work_.first * P::kBoxes;
    row_ = work_.worker * linear_.tile_rows;
  }

  __device__ void Advance() {
    box_ += P::kBoxes;
    if (++step_ == work_.steps) {
      step_ = 0;
      box_ = work_.first * P::kBoxes;
      row_ += work_.workers * linear_.tile_rows;
    }
    at_.Advance(work_.stages);
  }

  __device__ void CopyWeights() const {
    uint64_t* full = &shared_.full[at_.stage];
    uint8_t* to = ring_ + at_.stage * work_.stage_bytes;
    ArriveAndExpect(full, work_.stage_bytes);
    if constexpr (P::kKind == LinearKind::kGated) {
      CopyBoxOfGroup(to, &linear_.weights, full, kEvictFirst, box_ * kBoxColumns, row_ / 16);
    } else {
      CopyBox(to, &linear_.weights, full, kEvictFirst, 0, row_, box_);
    }
  }

  __device__ void CopyX() const {
    CopyBox(ring_ + at_.stage * work_.stage_bytes + work_.w_bytes, &linear_.x,
            &shared_.full[at_.stage], kEvictLast, 0, 0, box_);
  }

  const LinearOperands& linear_;
  const LinearWork& work_;
  uint8_t* const ring_;
  LinearShared<P::kRows>& shared_;
  int step_ = 0;  // of the tile
  int box_ = 0;   // of columns
  int row_ = 0;   // of W
  Cursor at_;     // in the ring
};

// One warp: RMSNorm's factor of each row. A lane adds four rows' sums.
template <int kRows>
__device__ void SumStatistics(const RowStatistics& of, LinearShared<kRows>& shared) {
  constexpr int kBatch = 8;  // loads in flight
  const int lane = threadIdx.x % kWarp, packs = of.tiles * kRows / 4;
  WaitForKernelBefore();
  float sums[4] = {};
  for (int first = lane; first < packs; first += kWarp * kBatch) {
    float4 loaded[kBatch];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int pack = first + kWarp * i;
      loaded[i] =
          pack < packs ? __ldcg(reinterpret_cast<const float4*>(of.sum_squares) + pack) : float4{};
    }
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      sums[0] += loaded[i].x, sums[1] += loaded[i].y, sums[2] += loaded[i].z,
          sums[3] += loaded[i].w;
    }
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int lanes = kRows / 4; lanes < kWarp; lanes *= 2) {
      sums[i] += __shfl_xor_sync(kAllLanes, sums[i], lanes);
    }
    if (lane < kRows / 4) {
      shared.scales[4 * lane + i] =
          of.sum_squares == nullptr ? 1 : rsqrtf(sums[i] / of.channels + of.eps);
    }
  }
  Arrive(&shared.scales_ready);  // each lane for what it wrote
}

}  // namespace glimpse::kernels

#endif  // GLIMPSE_ENGINE_KERNELS_DEVICE_LINEAR_RING_CUH_
