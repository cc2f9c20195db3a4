// y = x W^T for a decode step: x [rows, in] with 8 to 64 rows, W [out, in], both bfloat16.
//
// The weights' bandwidth is all that counts, so the copy engine must never pause:
//   - Every multiprocessor gets whole tiles of W, of so many rows that all get the same. A plain
//     product is so small that x would be most of what a block reads: there the two blocks of a
//     cluster share a tile, each multiplies half of the columns, and each adds up and finishes half
//     of x's rows, through the other's shared memory. Nothing is joined through device memory.
//   - One thread keeps a ring of 112 KB of steps (64 or 128 columns of the tile and of x) filled
//     (device/linear_ring.cuh). Half of a multiprocessor is left free: there the next kernel of the
//     chain (kernels.h) already fills its own ring with weights, which depend on nothing, while
//     this one ends.
//   - Two warpgroups multiply (wgmma; W is the 64-row side, x the narrow one), each other rows of
//     the tile (device/linear_warpgroup.cuh).
//   - The order of all additions is fixed, so the result is the same bit for bit each time.
//
// The wall: W once, at the 3001 GB/s that a kernel reaches that only reads. H100 80GB HBM3,
// 24 November 2026, each product of GLM-4V-9B alone, launches one behind the other in a graph;
// microseconds, share of the wall and, in brackets, cuBLAS' share:
//   rows                       8                16                32                64
//   qkv       38 MB  14.3  88 % (83)   14.8  85 % (82)   15.4  82 % (82)   17.0  74 % (80)
//   dense     34 MB  12.9  87 % (71)   13.4  84 % (70)   13.9  81 % (77)   15.3  73 % (75)
//   h_to_4h  224 MB  76.7  98 % (91)   75.7  99 % (91)   78.5  95 % (90)   79.9  94 % (85)
//   4h_to_h  112 MB  40.2  93 % (87)   39.4  95 % (86)   40.4  93 % (85)   42.5  88 % (82)
//   head    1242 MB   407 102 % (94)    411 101 % (93)    430  96 % (91)    483  86 % (91)
// cuBLAS leaves y in memory; here what becomes of it (decode_linear.h) is done too. A step's 161
// products in one graph read 17.56 GB and take about 6.1 / 6.1 / 6.3 / 6.8 ms at 8 / 16 / 32 / 64
// rows.
#include <algorithm>
#include <cstdint>

#include "engine/kernels/decode_linear.h"
#include "engine/kernels/device/cluster.cuh"
#include "engine/kernels/device/linear_ring.cuh"
#include "engine/kernels/device/linear_warpgroup.cuh"
#include "engine/kernels/device/pdl.cuh"
#include "engine/kernels/device/reduce.cuh"
#include "engine/kernels/launch.h"
#include "engine/kernels/tensor_map.h"
#include "preprocess/ceil_div.h"
#include "preprocess/check.h"

namespace glimpse::kernels {
namespace {

constexpr int kThreads = (kConsumerWarps + 2) * kWarp;  // and a copying and a summing warp

template <typename P>
__global__ void __launch_bounds__(kThreads, 2)
    DecodeLinearKernel(const __grid_constant__ LinearOperands linear,
                       const __grid_constant__ typename P::FinishType finish) {
  constexpr bool kPlain = P::kKind == LinearKind::kPlain;
  extern __shared__ __align__(1024) uint8_t ring[];
  auto& shared = *reinterpret_cast<LinearShared<P::kRows>*>(ring + kRingBytes);
  LetNextKernelStart();
  const LinearWork work = LinearWork::Of<P>(linear);
  if (threadIdx.x == kConsumerWarps * kWarp) {
    shared.Init();
    if constexpr (kPlain) shared.ExpectParts(P::kRows / 2 * linear.tile_rows * 8);
  }
  __syncthreads();
  if constexpr (kPlain) ClusterArrive();
  const int warp = threadIdx.x / kWarp;
  if (warp < kConsumerWarps) {
    if constexpr (kPlain) {
      PlainWarpgroup<P>{{linear, finish, work, ring, shared}}.Run();
    } else {
      Warpgroup<P>{linear, finish, work, ring, shared}.Run();
    }
  } else if (warp == kConsumerWarps) {
    if (threadIdx.x % kWarp == 0) LinearProducer<P>(linear, work, ring, shared).Run();
  } else {
    SumStatistics<P::kRows>(linear.statistics, shared);
  }
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
  [[maybe_unused]] static const bool allowed = (AllowSharedMemory(kernel, kSharedBytes), true);
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
