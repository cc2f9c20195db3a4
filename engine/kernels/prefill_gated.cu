// out = silu(x g^T) * (x u^T), [g, u] = w: the wide product of a prefill, and what becomes of it.
// x [tokens, hidden], w [2 ffn, hidden], out [tokens, ffn].
//
// The tensor cores bound it, and how fast they run the card's power: so bytes count, wherever they
// move.
//   - A block multiplies 128 rows of w with up to 256 tokens at a time: each of two warpgroups 64
//     rows (wgmma; w is the 64-row side). Eight gate rows and eight up rows lie side by side, so
//     that a lane's sums hold both of a channel, and silu(gate) * up never leaves the registers.
//   - The two blocks of a cluster take neighbouring rows and the same tokens: each copies every
//     other step of x for both.
//   - One thread keeps a ring of 192 KB of steps (64 columns of w's rows and of the tokens) filled.
//   - The grid is persistent. Its clusters take tiles side by side along the tokens, so that all
//     tokens meet the same few rows of w at about the same time: w is read from memory once.
//   - Tokens are divided so that the busiest cluster has the least to do, into tiles that differ by
//     16 tokens at most: no number of them wastes much.
//   - Results go through shared memory, where they are transposed, and leave by the copy engine
//     while the next tile is multiplied.
//
// The wall: 4 tokens ffn hidden operations at the 774 TFLOP/s of the library's product of 8192
// cubed, or what must move (227 MB at 64 tokens, 297 MB at 2048) at 3001 GB/s. H100 80GB HBM3, 24
// November 2026, on the sizes of GLM-4V-9B; microseconds of short bursts on a cool card and the
// share of the wall; then cuBLAS' product with a kernel for SwiGLU behind it:
//   tokens     64    128    256    384    512   1024   1800   2048
//            78.7   80.4   98.3    136    161    304    515    572
//            96 %   95 %   79 %   82 %   92 %   98 %  101 %  104 %
//   cuBLAS   88.0   91.7    103    134    167    332    559    627
// Back to back for half a second and more, at the card's 700 W: 193 at 512 tokens (cuBLAS 195), 592
// at 1800 (648), 667 at 2048 (723). Between 256 and 512 tokens the tiles are small, or fill the
// card badly.
#include <algorithm>
#include <cstdint>

#include "engine/kernels/device/cluster.cuh"
#include "engine/kernels/device/mma.cuh"
#include "engine/kernels/device/pack.cuh"
#include "engine/kernels/device/pdl.cuh"
#include "engine/kernels/device/reduce.cuh"
#include "engine/kernels/device/tma.cuh"
#include "engine/kernels/device/wgmma.cuh"
#include "engine/kernels/kernels.h"
#include "engine/kernels/launch.h"
#include "engine/kernels/tensor_map.h"
#include "preprocess/ceil_div.h"
#include "preprocess/check.h"

namespace glimpse::kernels {
namespace {

constexpr int kBlocks = 2;                               // of a cluster
constexpr int kGroups = 2;                               // warpgroups that multiply
constexpr int kGroupChannels = 32;                       // 64 rows of w
constexpr int kTileChannels = kGroups * kGroupChannels;  // of a block
constexpr int kStepColumns = 64;                         // one swizzle wide
constexpr int kRowBytes = 2 * kStepColumns;
constexpr int kWeightBytes = 2 * kTileChannels * kRowBytes;  // of a step
constexpr int kUnit = 16;                                    // tokens by which tiles differ
constexpr int kMinTokens = 64, kMaxTokens = 256;             // of a tile
constexpr int kRingBytes = 4 * (kWeightBytes + kMaxTokens * kRowBytes);
constexpr int kMaxStages = 8;
constexpr int kThreads = (1 + kGroups) * kWarpgroup;

// What a launch does. The tokens come in wide tiles first, then in narrow ones, kUnit fewer each.
struct Params {
  CUtensorMap weights;      // [ffn / 8][gate, up][8][hidden]
  CUtensorMap x, x_narrow;  // boxes of a tile's tokens
  CUtensorMap out, out_narrow;
  int steps, stages;
  int wide_tokens;              // of a wide tile
  int wide_rows, narrow_rows;   // of a box of x: no more than there are tokens
  int wide_tiles, token_tiles;  // number of wide ones, and of all
  int tiles;                    // of token_tiles x pairs of 128 rows of w
};

struct Shared {
  uint8_t staging[kGroups][kMaxTokens * kGroupChannels * 2];  // [tokens][32], 64-byte swizzle
  uint8_t ring[kRingBytes];
  uint64_t full[kMaxStages];
  uint64_t empty[kMaxStages];  // by the warps of both blocks, as either may write x here
};
// With room to begin at a multiple of 1024, as the swizzle wants.
constexpr int kSharedBytes = sizeof(Shared) + 1024;

struct Tile {
  int token;
  int channel;  // the block's first
  bool wide;
};

__device__ Tile TileAt(const Params& params, int index, int rank) {
  const int pair = index / params.token_tiles;
  // Turned from pair to pair, so that each cluster gets its share of the wide ones.
  const int tile = (index + pair) % params.token_tiles;
  const int narrow_before = max(tile - params.wide_tiles, 0);
  return {tile * params.wide_tokens - narrow_before * kUnit,
          (pair * kBlocks + rank) * kTileChannels, tile < params.wide_tiles};
}

__device__ int StageBytes(const Params& params) {
  return kWeightBytes + params.wide_tokens * kRowBytes;
}

// The thread that copies.
__device__ void Produce(const Params& params, Shared& shared, int rank) {
  constexpr uint16_t kBoth = (1 << kBlocks) - 1;
  Cursor at;
  int sender = 0;  // who copies this step of x
  WaitForKernelBefore();
  for (int index = blockIdx.x / kBlocks; index < params.tiles; index += gridDim.x / kBlocks) {
    const Tile tile = TileAt(params, index, rank);
    const CUtensorMap* x = tile.wide ? &params.x : &params.x_narrow;
    const int bytes =
        kWeightBytes + (tile.wide ? params.wide_rows : params.narrow_rows) * kRowBytes;
    for (int step = 0; step < params.steps; ++step, at.Advance(params.stages)) {
      uint64_t* full = &shared.full[at.stage];
      uint8_t* to = shared.ring + at.stage * StageBytes(params);
      WaitForCluster(&shared.empty[at.stage], (at.round & 1) ^ 1);
      ArriveAndExpect(full, bytes);
      CopyBox(to, &params.weights, full, kEvictFirst, step * kStepColumns, 0, 0, tile.channel / 8);
      if (sender == rank) {
        CopyBoxToBlocks(to + kWeightBytes, x, full, kEvictLast, kBoth, step * kStepColumns,
                        tile.token);
      }
      sender ^= 1;
    }
  }
}

// A warpgroup that multiplies.
struct Consumer {
  const Params& params;
  Shared& shared;
  int rank, group;
  Cursor at;

  __device__ static int Lane() { return threadIdx.x % kWarp; }

  __device__ void Release(int stage) const {
    if (Lane() < kBlocks) ArriveInBlock(&shared.empty[stage], Lane());
  }

  template <int kTokens>
  __device__ void Multiply(float (&sum)[kTokens / 2]) {
    const uint32_t ring = SharedAddress(shared.ring);
    int before = 0;
#pragma unroll 1
    for (int step = 0; step < params.steps; ++step, at.Advance(params.stages)) {
      const uint32_t stage = ring + at.stage * StageBytes(params);
      const uint64_t w = TileDescriptor(stage + group * (kWeightBytes / kGroups));
      const uint64_t x = TileDescriptor(stage + kWeightBytes);
      Wait(&shared.full[at.stage], at.round & 1);
      WgmmaFence();
#pragma unroll
      for (int k = 0; k < kStepColumns / 16; ++k) Wgmma<kTokens>(sum, w + 2 * k, x + 2 * k);
      WgmmaCommit();
      WgmmaWait<1>();  // the step before has been multiplied
      if (step > 0) Release(before);
      before = at.stage;
    }
    WgmmaWait<0>();
    HoldRegisters(sum);
    Release(before);
  }

  // A lane has a channel's gate at two neighbouring tokens of each eight, then its up.
  template <int kTokens>
  __device__ void Stage(const float (&sum)[kTokens / 2]) const {
    const int chunk = threadIdx.x / kWarp % 4 ^ Lane() / 2 % 4;  // of 16 bytes: 64-byte swizzle
    const uint32_t row =
        SharedAddress(shared.staging[group]) + Lane() * kGroupChannels * 2 + chunk * 16;
#pragma unroll
    for (int i = 0; i < kTokens / 8; i += 4) {
      uint32_t pairs[4] = {};
#pragma unroll
      for (int j = 0; j < 4 && i + j < kTokens / 8; ++j) {
        const float* gate = sum + 4 * (i + j);
        const float* up = gate + 2;
        pairs[j] = PackBf16(Silu(gate[0]) * up[0], Silu(gate[1]) * up[1]);
      }
      const uint32_t to = row + i * 8 * kGroupChannels * 2;
      if (i + 4 <= kTokens / 8) {
        StoreTransposed(to, pairs);
      } else {
        StoreTransposed(to, {pairs[0], pairs[1]});
      }
    }
  }

  __device__ static float Silu(float a) { return __fdividef(a, 1.0f + __expf(-a)); }

  __device__ void Meet() const { asm volatile("bar.sync %0, 128;" ::"r"(1 + group) : "memory"); }

  template <int kTokens>
  __device__ void Take() {
    float sum[kTokens / 2] = {};
    Multiply<kTokens>(sum);
    if (threadIdx.x % kWarpgroup == 0) WaitForStoresToRead();
    Meet();  // the staging is free
    Stage<kTokens>(sum);
    FenceForStore();
    Meet();  // the staging is filled
  }

  // The number of tokens as a constant, as products in registers want it.
  template <int kTokens = kMaxTokens>
  __device__ __forceinline__ void TakeTokens(int tokens) {
    if constexpr (kTokens > kMinTokens) {
      if (tokens < kTokens) return TakeTokens<kTokens - kUnit>(tokens);
    }
    Take<kTokens>();
  }

  __device__ void Run() {
    for (int index = blockIdx.x / kBlocks; index < params.tiles; index += gridDim.x / kBlocks) {
      const Tile tile = TileAt(params, index, rank);
      TakeTokens(params.wide_tokens - (tile.wide ? 0 : kUnit));
      if (threadIdx.x % kWarpgroup == 0) {
        StoreBox(tile.wide ? &params.out : &params.out_narrow, shared.staging[group],
                 tile.channel + group * kGroupChannels, tile.token);
      }
    }
    if (threadIdx.x % kWarpgroup == 0) WaitForStoresToRead();
  }
};

__device__ void InitBarriers(Shared& shared) {
  for (int stage = 0; stage < kMaxStages; ++stage) {
    InitBarrier(&shared.full[stage], 1);
    InitBarrier(&shared.empty[stage], kBlocks * kGroups * kWarpgroup / kWarp);
  }
  FenceBarrierInit();
}

__global__ void __launch_bounds__(kThreads, 1)
    PrefillGatedKernel(const __grid_constant__ Params params) {
  extern __shared__ uint8_t raw[];
  auto& shared = *reinterpret_cast<Shared*>(raw + (1024 - SharedAddress(raw) % 1024) % 1024);
  const int rank = blockIdx.x % kBlocks;
  LetNextKernelStart();
  if (threadIdx.x == 0) InitBarriers(shared);
  __syncthreads();
  ClusterArrive();
  ClusterWait();  // the other block's barriers are set up
  // The producer gives most of its registers to the consumers.
  if (threadIdx.x < kWarpgroup) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
    if (threadIdx.x == 0) Produce(params, shared, rank);
    __syncwarp();
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
    const int group = __shfl_sync(kAllLanes, static_cast<int>(threadIdx.x / kWarpgroup) - 1, 0);
    Consumer{params, shared, rank, group, {}}.Run();
    __syncwarp();
  }
  ClusterArrive();
  ClusterWait();  // the other block writes here no more
}

// Sets how the tokens are divided. A tile costs as much as its tokens and some: what it takes to
// start and to finish, and w's bytes (measured).
void Divide(const PrefillGated& args, int clusters, Params* params) {
  constexpr int kTileCost = 40;
  const int units = CeilDiv(args.tokens, kUnit);
  const int pairs = CeilDiv(args.ffn, kBlocks * kTileChannels);
  int best = 0, best_cost = INT32_MAX;
  for (int tiles = CeilDiv(units * kUnit, kMaxTokens);
       best == 0 || units / tiles * kUnit >= kMinTokens; ++tiles) {
    const int cost = CeilDiv(pairs * tiles, clusters) * (units * kUnit / tiles + kTileCost);
    if (cost < best_cost) best = tiles, best_cost = cost;
  }
  const int wide_units = std::max(CeilDiv(units, best), kMinTokens / kUnit);
  params->wide_tokens = wide_units * kUnit;
  params->token_tiles = best;
  params->wide_tiles = best == 1 ? 1 : units - best * (wide_units - 1);
  params->tiles = best * pairs;
}

// Boxes of `rows` rows and one swizzle of columns.
CUtensorMap MapOfX(const PrefillGated& args, int rows) {
  return MakeTensorMap(
      args.x, {.sizes = {static_cast<uint64_t>(args.hidden), static_cast<uint64_t>(args.tokens)},
               .strides_bytes = {2 * static_cast<uint64_t>(args.hidden)},
               .box = {kStepColumns, static_cast<uint32_t>(rows)}});
}

CUtensorMap MapOfOut(const PrefillGated& args, int rows) {
  return MakeTensorMap(
      args.out, {.sizes = {static_cast<uint64_t>(args.ffn), static_cast<uint64_t>(args.tokens)},
                 .strides_bytes = {2 * static_cast<uint64_t>(args.ffn)},
                 .box = {kGroupChannels, static_cast<uint32_t>(rows)}});
}

CUtensorMap MapOfWeights(const PrefillGated& args) {
  const uint64_t hidden = static_cast<uint64_t>(args.hidden), ffn = static_cast<uint64_t>(args.ffn);
  return MakeTensorMap(args.w, {.sizes = {hidden, 8, 2, ffn / 8},
                                .strides_bytes = {2 * hidden, 2 * hidden * ffn, 16 * hidden},
                                .box = {kStepColumns, 8, 2, kTileChannels / 8}});
}

Params MakeParams(const PrefillGated& args, int clusters) {
  Params params;
  Divide(args, clusters, &params);
  const int narrow_tokens = params.wide_tokens - kUnit;
  params.wide_rows = std::min(params.wide_tokens, args.tokens);
  params.narrow_rows = std::min(narrow_tokens, args.tokens);
  params.weights = MapOfWeights(args);
  params.x = MapOfX(args, params.wide_rows);
  params.x_narrow = MapOfX(args, params.narrow_rows);
  params.out = MapOfOut(args, params.wide_tokens);
  params.out_narrow = MapOfOut(args, narrow_tokens);
  params.steps = CeilDiv(args.hidden, kStepColumns);
  params.stages =
      std::min(kMaxStages, kRingBytes / (kWeightBytes + params.wide_tokens * kRowBytes));
  return params;
}

}  // namespace

void Launch(const PrefillGated& args, cudaStream_t stream) {
  GLIMPSE_CHECK(args.hidden % 8 == 0 && args.ffn % 8 == 0, "PrefillGated: hidden or ffn");
  if (args.tokens == 0) return;
  const int clusters = NumMultiprocessors() / kBlocks;
  const Params params = MakeParams(args, clusters);
  [[maybe_unused]] static const bool allowed =
      (AllowSharedMemory(PrefillGatedKernel, kSharedBytes), true);
  LaunchInChain(PrefillGatedKernel,
                {.grid = static_cast<unsigned>(std::min(clusters, params.tiles) * kBlocks),
                 .block = kThreads,
                 .shared_bytes = kSharedBytes,
                 .cluster = kBlocks},
                stream, params);
}

}  // namespace glimpse::kernels
