// y = x W^T for a decode step: x [rows, in] with 8 to 64 rows, W [out, in], both bfloat16.
//
// The weights' bandwidth is all that counts, so the copy engine must never pause:
//   - Every multiprocessor gets whole tiles of W, of so many rows that all get the same. A plain
//     product is so small that x would be most of what a block reads: there the two blocks of a
//     cluster share a tile, each multiplies half of the columns, and each adds up and finishes half
//     of x's rows, through the other's shared memory. Nothing is joined through device memory.
//   - One thread keeps a ring of 112 KB of steps (64 or 128 columns of the tile and of x) in
//   flight.
//     Half of a multiprocessor is left free: there the next kernel of the step (programmatic
//     dependent launch) already fills its own ring with weights, which depend on nothing, while
//     this one ends.
//   - Two warpgroups multiply (wgmma; W is the 64-row side, x the narrow one), each other rows of
//     the tile.
//   - The order of all additions is fixed, so the result is the same bit for bit each time.
//
// Measured on an H100 80GB HBM3 (3011 GB/s read), CUDA 13.0, 24 November 2026: GLM-4V-9B's 161
// products of a step in one graph read 17.56 GB, 5.83 ms at the wall; with 8, 16, 32 and 64 rows
// they take about 6.1, 6.1, 6.3 and 6.8 ms.
#include <algorithm>
#include <cstdint>
#include <utility>

#include "engine/kernels/cuda_error.h"
#include "engine/kernels/decode_linear.h"
#include "engine/kernels/device/cluster.cuh"
#include "engine/kernels/device/linear_finish.cuh"
#include "engine/kernels/device/linear_ring.cuh"
#include "engine/kernels/device/wgmma.cuh"
#include "engine/kernels/tensor_map.h"
#include "preprocess/check.h"

namespace glimpse::kernels {
namespace {

using bf16 = __nv_bfloat16;

constexpr int kThreads = kConsumerWarps * 32 + 64;  // and a copying and a summing warp

// Walks the ring's stages.
struct Cursor {
  int stage = 0;
  uint32_t round = 0;

  __device__ void Advance(int stages) {
    if (++stage == stages) stage = 0, ++round;
  }
};

// A warpgroup's side of the work.
template <typename P>
struct Warpgroup {
  const LinearOperands& linear;
  const typename P::FinishType& finish;
  const LinearWork& work;
  uint8_t* ring;
  LinearShared<P::kRows>& shared;
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;

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

template <typename P>
__global__ void __launch_bounds__(kThreads, 2)
    DecodeLinearKernel(const __grid_constant__ LinearOperands linear,
                       const __grid_constant__ typename P::FinishType finish) {
  constexpr bool kPlain = P::kKind == LinearKind::kPlain;
  extern __shared__ __align__(1024) uint8_t ring[];
  auto& shared = *reinterpret_cast<LinearShared<P::kRows>*>(ring + kRingBytes);
  LetNextKernelStart();
  const LinearWork work = LinearWork::Of<P>(linear);
  if (threadIdx.x == kConsumerWarps * 32) {
    shared.Init();
    if constexpr (kPlain) shared.ExpectParts(P::kRows / 2 * linear.tile_rows * 8);
  }
  __syncthreads();
  if constexpr (kPlain) ClusterArrive();
  const int warp = threadIdx.x / 32;
  if (warp < kConsumerWarps) {
    if constexpr (kPlain) {
      PlainWarpgroup<P>{{linear, finish, work, ring, shared}}.Run();
    } else {
      Warpgroup<P>{linear, finish, work, ring, shared}.Run();
    }
  } else if (warp == kConsumerWarps) {
    if (threadIdx.x % 32 == 0) LinearProducer<P>(linear, work, ring, shared).Run();
  } else {
    SumStatistics<P::kRows>(linear.statistics, shared);
  }
}

int CeilDiv(int a, int b) { return (a + b - 1) / b; }

int NumMultiprocessors() {
  static const int count = [] {
    int device = 0, multiprocessors = 0;
    CheckCuda(cudaGetDevice(&device), "cudaGetDevice");
    CheckCuda(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device),
              "cudaDeviceGetAttribute");
    return multiprocessors;
  }();
  return count;
}

int Workers(LinearKind kind) { return NumMultiprocessors() / BlocksOf(kind); }

template <typename P>
void LaunchPlan(const LinearOperands& linear, const typename P::FinishType& finish,
                cudaStream_t stream) {
  static_assert(sizeof(LinearShared<P::kRows>) <= kSharedBytes - kRingBytes);
  GLIMPSE_CHECK(linear.kind == P::kKind, "a finish of another product");
  const int tiles = CeilDiv(linear.out, linear.tile_rows);
  LaunchShape shape;
  shape.grid = static_cast<unsigned>(std::min(Workers(P::kKind), tiles) * P::kBlocks);
  shape.block = kThreads;
  shape.shared_bytes = kSharedBytes;
  shape.cluster = P::kBlocks;
  const auto kernel = DecodeLinearKernel<P>;
  static const bool raised = [&] {
    CheckCuda(
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes),
        "cudaFuncSetAttribute");
    return true;
  }();
  (void)raised;
  LaunchInChain(kernel, shape, stream, linear, finish);
}

template <typename FinishType>
void LaunchAny(const LinearOperands& linear, const FinishType& finish, cudaStream_t stream) {
  switch (linear.rows) {
    case 8:
      return LaunchPlan<LinearPlan<8, FinishType>>(linear, finish, stream);
    case 16:
      return LaunchPlan<LinearPlan<16, FinishType>>(linear, finish, stream);
    case 32:
      return LaunchPlan<LinearPlan<32, FinishType>>(linear, finish, stream);
    case 64:
      return LaunchPlan<LinearPlan<64, FinishType>>(linear, finish, stream);
  }
  GLIMPSE_CHECK(false, "a decode product takes 8, 16, 32 or 64 rows");
}

// How many of `groups` rows of W a tile gets, so that the busiest worker has the least; of equal
// ones the most, as x is read once a tile.
int GroupsOfTile(int groups, int least, int most, int workers) {
  int best = least, best_cost = INT32_MAX;
  for (int size = least; size <= most; ++size) {
    const int cost = CeilDiv(CeilDiv(groups, size), workers) * size;
    if (cost <= best_cost) best = size, best_cost = cost;
  }
  return best;
}

// Of a matrix as [in / 64][out][64], of which a copy brings `boxes` x `rows` x 64.
CUtensorMap MapOfBoxes(const bf16* data, MatrixShape shape, int rows, int boxes) {
  const uint64_t row_bytes = 2 * static_cast<uint64_t>(shape.in);
  return MakeTensorMap(
      data, {.sizes = {kBoxColumns, static_cast<uint64_t>(shape.out),
                       static_cast<uint64_t>(shape.in / kBoxColumns)},
             .strides_bytes = {row_bytes, kRowBytes},
             .box = {kBoxColumns, static_cast<uint32_t>(rows), static_cast<uint32_t>(boxes)}});
}

LinearOperands Make(LinearKind kind, MatrixShape shape, const bf16* x, int rows) {
  GLIMPSE_CHECK(shape.in % kBoxColumns == 0, "W's columns come in boxes");
  LinearOperands linear = {};
  linear.kind = kind;
  linear.out = shape.out;
  linear.in = shape.in;
  linear.rows = rows;
  linear.x = MapOfBoxes(x, {rows, shape.in}, rows, BoxesOf(kind, rows));
  return linear;
}

int UngatedTileRows(LinearKind kind, int out) {
  constexpr int kLeast = kLinearTile / 8, kMostOfHead = 24;  // with more, too few stages fit
  const int most = kind == LinearKind::kHead ? kMostOfHead : UnitsOf(kind) * kUnit / 8;
  return 8 * GroupsOfTile(CeilDiv(out, 8), kLeast, most, Workers(kind));
}

LinearOperands MakeUngated(LinearKind kind, const bf16* w, MatrixShape shape, const bf16* x,
                           int rows) {
  LinearOperands linear = Make(kind, shape, x, rows);
  linear.tile_rows = UngatedTileRows(kind, shape.out);
  linear.weights = MapOfBoxes(w, shape, linear.tile_rows, BoxesOf(kind, rows));
  return linear;
}

}  // namespace

// A cluster takes one tile.
bool TakesPlain(MatrixShape shape) {
  const int tile_rows = UngatedTileRows(LinearKind::kPlain, shape.out);
  return shape.in % kBoxColumns == 0 &&
         CeilDiv(shape.out, tile_rows) <= Workers(LinearKind::kPlain);
}

// Sums of squares belong to a tile.
bool TakesResidual(MatrixShape shape) {
  return TakesPlain(shape) && shape.out % kLinearTile == 0 &&
         UngatedTileRows(LinearKind::kPlain, shape.out) % kLinearTile == 0;
}

LinearOperands MakeLinear(const bf16* w, MatrixShape shape, const bf16* x, int rows) {
  GLIMPSE_CHECK(TakesPlain(shape), "a plain product of another size");
  return MakeUngated(LinearKind::kPlain, w, shape, x, rows);
}

LinearOperands MakeHeadLinear(const bf16* w, MatrixShape shape, const bf16* x, int rows) {
  return MakeUngated(LinearKind::kHead, w, shape, x, rows);
}

LinearOperands MakeGatedLinear(const bf16* w, MatrixShape shape, const bf16* x, int rows) {
  GLIMPSE_CHECK(shape.out % 8 == 0, "eight gate rows and eight up rows lie side by side");
  LinearOperands linear = Make(LinearKind::kGated, shape, x, rows);
  linear.out = 2 * shape.out;
  const int groups = GroupsOfTile(shape.out / 8, 2, 16, Workers(LinearKind::kGated));
  linear.tile_rows = 16 * groups;
  const uint64_t in = static_cast<uint64_t>(shape.in), out = static_cast<uint64_t>(shape.out);
  // [groups of 8 channels][gate, up][8][in]: a lane's two sums are gate and up of one channel.
  linear.weights = MakeTensorMap(w, {.sizes = {in, 8, 2, out / 8},
                                     .strides_bytes = {2 * in, 2 * in * out, 16 * in},
                                     .box = {kBoxColumns, 8, 2, static_cast<uint32_t>(groups)}});
  return linear;
}

void Launch(const LinearOperands& linear, const QkvFinish& finish, cudaStream_t stream) {
  LaunchAny(linear, finish, stream);
}
void Launch(const LinearOperands& linear, const ResidualFinish& finish, cudaStream_t stream) {
  GLIMPSE_CHECK(linear.tile_rows % kLinearTile == 0, "sums of squares belong to a tile");
  LaunchAny(linear, finish, stream);
}
void Launch(const LinearOperands& linear, const SwigluFinish& finish, cudaStream_t stream) {
  LaunchAny(linear, finish, stream);
}
void Launch(const LinearOperands& linear, const LogitsFinish& finish, cudaStream_t stream) {
  LaunchAny(linear, finish, stream);
}

}  // namespace glimpse::kernels
