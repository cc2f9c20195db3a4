// The consumers' half of a decode product (decode_linear.cu): two warpgroups that multiply the
// steps as linear_ring.cuh brings them, and what becomes of their sums.
#ifndef GLIMPSE_ENGINE_KERNELS_DEVICE_LINEAR_WARPGROUP_CUH_
#define GLIMPSE_ENGINE_KERNELS_DEVICE_LINEAR_WARPGROUP_CUH_

#include <cstdint>
#include <utility>

#include "engine/kernels/device/cluster.cuh"
#include "engine/kernels/device/linear_finish.cuh"
#include "engine/kernels/device/linear_ring.cuh"
#include "engine/kernels/device/reduce.cuh"
#include "engine/kernels/device/wgmma.cuh"

namespace glimpse::kernels {

// A warpgroup's side of the work.
template <typename P>
struct Warpgroup {
  const LinearOperands& linear;
  const typename P::FinishType& finish;
  const LinearWork& work;
  uint8_t* ring;
  LinearShared<P::kRows>& shared;
  const int warp = threadIdx.x / kWarp;
  const int lane = threadIdx.x % kWarp;

  // Row of the tile where a unit begins. The last units are moved back into the tile, and then
  // leave out what the unit before them has: rows before FirstRow.
  __device__ int Begin(int unit) const {
    return min(FirstRow(unit), max(linear.tile_rows - kUnit, 0));
  }
  __device__ int FirstRow(int unit) const { return (warp / 4 * P::kUnits + unit) * kUnit; }

  __device__ void MultiplyStep(uint32_t address, typename P::Sums& sums) const {
    const uint32_t w_box = linear.tile_rows * kRowBytes >> 4, x_box = P::kRows * kRowBytes >> 4;
    const uint64_t w = TileDescriptor(address), x = TileDescriptor(address + work.w_bytes);
    WgmmaFence();
#pragma unroll
    for (int box = 0; box < P::kBoxes; ++box) {
#pragma unroll
      for (int k = 0; k < kBoxColumns / 16; ++k) {
#pragma unroll
        for (int unit = 0; unit < P::kUnits; ++unit) {
          const uint32_t begin = Begin(unit) * kRowBytes >> 4;
          Wgmma<P::kRows>(sums[unit], w + begin + box * w_box + 2 * k, x + box * x_box + 2 * k);
        }
      }
    }
    WgmmaCommit();
  }

  __device__ void Multiply(Cursor& at, typename P::Sums& sums) const {
    // A stage is free once its products have run. Up to 16 rows there are enough stages to let two
    // steps' products run one into the other.
    constexpr int kPending = P::kRows <= 16 ? 1 : 0;
    uint64_t* before = nullptr;
#pragma unroll 1
    for (int i = 0; i < work.steps; ++i, at.Advance(work.stages)) {
      Wait(&shared.full[at.stage], at.round & 1);
      MultiplyStep(SharedAddress(ring) + at.stage * work.stage_bytes, sums);
      WgmmaWait<kPending>();
      if (kPending == 0) before = &shared.empty[at.stage];
      if (before != nullptr && lane == 0) Arrive(before);
      before = &shared.empty[at.stage];
    }
    WgmmaWait<0>();
#pragma unroll
    for (int i = 0; i < P::kUnits * P::kRows / 2; ++i) {
      asm volatile("" : "+f"(sums[0][i])::"memory");  // not read before the last wait
    }
    if (kPending > 0 && before != nullptr && lane == 0) Arrive(before);
  }

  __device__ void FinishFragments(int tile, const typename P::Sums& sums) const {
    const int first = tile * linear.tile_rows;
#pragma unroll
    for (int unit = 0; unit < P::kUnits; ++unit) {
      const Fragment at = {first + Begin(unit), first + FirstRow(unit), first + linear.tile_rows,
                           shared.scales};
      Finish<P::kRows>(finish, at, sums[unit]);
    }
  }

  __device__ void Run() const {
    Cursor at;
    for (int i = 0; i < work.tiles; ++i) {
      typename P::Sums sums = {};
      Multiply(at, sums);
      Wait(&shared.scales_ready, 0);
      FinishFragments(work.worker + i * work.workers, sums);
    }
  }
};

// A warpgroup's side of a plain product, of one tile. Once both blocks have multiplied, the ring
// takes what either has of the rows that the block finishes: [block][pair of rows][channel][2], so
// padded that a warp's stores fall on all banks.
template <typename P>
struct PlainWarpgroup : Warpgroup<P> {
  using W = Warpgroup<P>;
  using W::finish, W::lane, W::linear, W::ring, W::shared, W::warp, W::work;
  static constexpr int kPairs = P::kRows / 2 / kPlainBlocks;  // of a block
  static constexpr int kChunks = 2;                           // of 64 channels: two a lane
  static constexpr int kQuads = (kPairs * kChunks + kConsumerWarps - 1) / kConsumerWarps;
  using Ahead = decltype(LoadAhead(std::declval<typename P::FinishType>(), Quad{}));

  __device__ int PartOffset(int block, int pair, int channel) const {
    return ((block * kPairs + pair) * (linear.tile_rows + 4) + channel) * 8;
  }

  __device__ void SendParts(const typename P::Sums& sums) const {
#pragma unroll
    for (int second = 0; second < 2; ++second) {
      const int channel = this->Begin(0) + warp % 4 * 16 + lane / 4 + 8 * second;
      if (channel < this->FirstRow(0) || channel >= linear.tile_rows) continue;
#pragma unroll
      for (int eight = 0; eight < P::kRows / 8; ++eight) {
        const int pair = 4 * eight + lane % 4, to = pair / kPairs;
        StoreInBlock(AddressInBlock(ring, to) + PartOffset(work.rank, pair % kPairs, channel),
                     AddressInBlock(&shared.parts_ready, to),
                     {sums[0][4 * eight + 2 * second], sums[0][4 * eight + 2 * second + 1]});
      }
    }
  }

  __device__ int PairOf(int i) const { return (warp + i * kConsumerWarps) % kPairs; }
  __device__ int ChannelOf(int i) const {
    return (warp + i * kConsumerWarps) / kPairs * kUnit + 2 * lane;
  }
  __device__ Quad QuadOf(int i) const {
    const int in_tile = ChannelOf(i), channel = work.worker * linear.tile_rows + in_tile;
    return {2 * (work.rank * kPairs + PairOf(i)), channel,
            in_tile < linear.tile_rows && channel < linear.out};
  }

  __device__ void FinishQuads(const Ahead (&ahead)[kQuads]) const {
#pragma unroll
    for (int i = 0; i < kQuads; ++i) {
      const Quad at = QuadOf(i);
      float2 y[2] = {};
      if (at.valid) {
        const float2 scale = *reinterpret_cast<const float2*>(shared.scales + at.row);
#pragma unroll
        for (int block = 0; block < kPlainBlocks; ++block) {
          const float4 part =
              *reinterpret_cast<const float4*>(ring + PartOffset(block, PairOf(i), ChannelOf(i)));
          y[0].x += part.x, y[1].x += part.y, y[0].y += part.z, y[1].y += part.w;
        }
        y[0].x *= scale.x, y[0].y *= scale.x, y[1].x *= scale.y, y[1].y *= scale.y;
      }
      Finish(finish, at, P::kRows, ahead[i], y);
    }
  }

  __device__ void Run() const {
    WaitForKernelBefore();
    ClusterWait();  // the other block's barriers are set up
    Ahead ahead[kQuads];
#pragma unroll
    for (int i = 0; i < kQuads; ++i) ahead[i] = LoadAhead(finish, QuadOf(i));
    typename P::Sums sums = {};
    Cursor at;
    this->Multiply(at, sums);
    __syncwarp();
    if (lane < kPlainBlocks) ArriveInBlock(&shared.ring_free, lane);
    WaitForCluster(&shared.ring_free, 0);
    SendParts(sums);
    Wait(&shared.scales_ready, 0);
    WaitForCluster(&shared.parts_ready, 0);
    FinishQuads(ahead);
  }
};

}  // namespace glimpse::kernels

#endif  // GLIMPSE_ENGINE_KERNELS_DEVICE_LINEAR_WARPGROUP_CUH_
