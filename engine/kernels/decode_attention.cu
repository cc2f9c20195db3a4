// scores = q k^T / sqrt(128),  out = softmax(scores) v,  for one new token a row and KV head:
//   q [group, 128], k and v [length, 128], out [group, 128]
//
// Keys and values are read once and the arithmetic is next to nothing, so what counts is to have
// enough copies in flight, early, on every SM alike: then the kernel behind fills its own buffers
// on every SM while this one ends. So the keys of a (row, KV head) are split over as many blocks
// as make at most one block an SM. Each of a block's eight warps takes every eighth tile of 16 keys
// (a KV block) of the split, through a slot of its own in shared memory: it asks for a tile as soon
// as it is done with the last one, while the other seven warps' tiles are under way, and for the
// first one before it waits for the kernel that makes q, since all keys but the newest are old. The
// query heads of a KV head are the 16 rows of the tensor core's product (those past the group are
// zero). In the end the block's warps add their sums, and the splits exchange theirs through the
// workspace, where each finishes some of the heads. Everything is added in the sequence's order, so
// the bits are the same each time.
//
// A block waits there for the others of its row, so there are never more blocks of split rows than
// SMs. Clusters, whose blocks exchange sums without memory, were slower here: their blocks must
// find room in one part of the chip at once, while the kernels before and behind hold half of each
// SM.
//
// The wall: 1 KiB of keys and values a row and token (two KV heads), at the 3001 GB/s that a kernel
// reaches that only reads. H100 80GB HBM3, 24 November 2026, launches one behind the other in a
// graph, contexts of 1800 tokens:
//   rows             1     4     8    16    32    64
//   us             6.7   8.6  11.2  15.9  25.9  43.4
//   of the wall    9 %  29 %  44 %  62 %  76 %  90 %
// 4 rows of 128 tokens take 5.7 us, of 8192 tokens 17.1 us (66 %).
#include <cmath>
#include <cstdint>

#include "engine/kernels/device/decode_tile.cuh"
#include "engine/kernels/device/mbarrier.cuh"
#include "engine/kernels/device/pack.cuh"
#include "engine/kernels/device/pdl.cuh"
#include "engine/kernels/device/reduce.cuh"
#include "engine/kernels/device/tma.cuh"
#include "engine/kernels/device/zero_exchange.cuh"
#include "engine/kernels/kernels.h"
#include "engine/kernels/launch.h"
#include "engine/kernels/tensor_map.h"
#include "preprocess/check.h"

namespace glimpse::kernels {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarp;
// A warp's slot: keys, then values. 64 KiB a block leave the next kernel's block its room.
constexpr int kSlotBytes = 2 * kHalfBytes;
constexpr int kMaxSplits = 16;
// What a split leaves in the workspace: sums [16, 128], then totals [16] as (maximum, sum, 1, 1).
constexpr int kSumFloats = kMaxGroup * kHeadSize;
constexpr int kPartFloats = kSumFloats + 4 * kMaxGroup;

static_assert(kSumFloats * sizeof(float) <= kSlotBytes, "a warp's sums fit its slot");

struct Maps {
  CUtensorMap keys, values;  // [cache rows, kv_heads, 128] in boxes of a tile
};

// Tiles and q lie with the copy engine's swizzle (ChunkAddress).
struct Shared {
  uint8_t slots[kWarps][kSlotBytes];  // at the end: each warp's sums, float [16, 128] as SumAt
  alignas(1024) uint8_t q[kHalfBytes];
  float2 totals[kWarps][kMaxGroup];  // (maximum, sum of the probabilities) of a head
  uint64_t full[kWarps];             // barriers: the warp's slot holds its next tile
};

// The tiles of one split: a run of the sequence's.
struct Share {
  int length;  // of the sequence, in keys
  int active;  // splits that have tiles: the first ones
  int first;   // tile
  int tiles;   // 0 from split `active` on
};

__device__ __forceinline__ Share ShareOf(int length, int split, int splits) {
  const int tiles = (length + kTileKeys - 1) / kTileKeys;
  const int run = (tiles + splits - 1) / splits;
  const int first = min(split * run, tiles);
  return {length, run == 0 ? 0 : (tiles + run - 1) / run, first, min(run, tiles - first)};
}

// The first of this block's heads, which are rows of 128 in q and out.
__device__ __forceinline__ int64_t FirstHead(const DecodeAttention& args) {
  return (static_cast<int64_t>(blockIdx.z) * args.kv_heads + blockIdx.y) * args.group;
}

// The KV block that is a tile.
__device__ __forceinline__ int BlockOf(const DecodeAttention& args, int tile) {
  return args.block_table[static_cast<int64_t>(blockIdx.z) * args.max_blocks + tile];
}

// By one lane: asks for a tile, with whatever lies behind the sequence's last key.
__device__ __forceinline__ void CopyTile(const DecodeAttention& args, const Maps& maps, int tile,
                                         uint8_t* slot, uint64_t* full) {
  const int row = BlockOf(args, tile) * kTileKeys;
  const int head = 2 * blockIdx.y;  // in halves
  ArriveAndExpect(full, kSlotBytes);
  CopyBox(slot, &maps.keys, full, kEvictFirst, 0, row, head);
  CopyBox(slot + kHalfBytes, &maps.values, full, kEvictFirst, 0, row, head);
}

// The newest token's key and value as a warp holds them: 16 bytes a lane, the key first. It is what
// the kernel before this one wrote, so the tile that was copied ahead may not have it.
__device__ __forceinline__ uint4 LoadNewest(const DecodeAttention& args, int length) {
  const int lane = threadIdx.x % kWarp;
  const int newest = length - 1;
  const int64_t row =
      static_cast<int64_t>(BlockOf(args, newest / kTileKeys)) * kTileKeys + newest % kTileKeys;
  const bf16* from =
      (lane < 16 ? args.keys : args.values) + (row * args.kv_heads + blockIdx.y) * kHeadSize;
  return __ldcg(reinterpret_cast<const uint4*>(from) + lane % 16);
}

// Puts the newest token in its place in the last tile, and zero values behind it: what lies there
// may be NaN, which weight 0 does not make harmless.
__device__ __forceinline__ void PatchTail(uint32_t slot, int length, uint4 newest) {
  const int lane = threadIdx.x % kWarp;
  const int row = (length - 1) % kTileKeys;
  const uint32_t values = slot + kHalfBytes;
  StoreShared(ChunkAddress(lane < 16 ? slot : values, row, lane % 16), newest);
  if (lane >= 16) {
    for (int i = row + 1; i < kTileKeys; ++i) {
      StoreShared(ChunkAddress(values, i, lane % 16), uint4{});
    }
  }
  __syncwarp();  // the tile is whole
}

// Puts q of the group's heads into shared memory, zeros for the others.
__device__ __forceinline__ void LoadQ(const DecodeAttention& args, uint32_t to) {
  const auto* from = reinterpret_cast<const uint4*>(args.q + FirstHead(args) * kHeadSize);
#pragma unroll
  for (int i = threadIdx.x; i < kMaxGroup * 16; i += kThreads) {
    StoreShared(ChunkAddress(to, i / 16, i % 16), i / 16 < args.group ? __ldcg(from + i) : uint4{});
  }
  __syncthreads();  // q is there
}

// Where split `split` of this block's (row, KV head) leaves its part.
__device__ __forceinline__ float* PartOf(const DecodeAttention& args, int split) {
  const int64_t pair = static_cast<int64_t>(blockIdx.z) * gridDim.y + blockIdx.y;
  return static_cast<float*>(args.workspace) + (pair * gridDim.x + split) * kPartFloats;
}

__device__ __forceinline__ void StoreScaled(bf16* out, float4 x, float scale) {
  const uint2 bits = {PackBf16(x.x * scale, x.y * scale), PackBf16(x.z * scale, x.w * scale)};
  *reinterpret_cast<uint2*>(out) = bits;
}

__device__ __forceinline__ void AddScaled(float4& sum, float4 x, float factor) {
  sum.x += x.x * factor;
  sum.y += x.y * factor;
  sum.z += x.z * factor;
  sum.w += x.w * factor;
}

// Adds the warps' sums: to `out` if no other split has any, else as this split's part for those
// that finish the heads. A warp takes a head at a time, a lane four channels.
__device__ __forceinline__ void AddWarps(const DecodeAttention& args, const Shared& shared,
                                         bool alone) {
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  float* part = PartOf(args, blockIdx.x);
  for (int head = warp; head < args.group; head += kWarps) {
    float high = -INFINITY, total = 0;
    float4 sum = {};
#pragma unroll
    for (int i = 0; i < kWarps; ++i) high = fmaxf(high, shared.totals[i][head].x);
#pragma unroll
    for (int i = 0; i < kWarps; ++i) {
      const auto* sums = reinterpret_cast<const float*>(shared.slots[i]) + SumAt(head, 4 * lane);
      const float factor = exp2f(shared.totals[i][head].x - high);
      total += factor * shared.totals[i][head].y;
      AddScaled(sum, *reinterpret_cast<const float4*>(sums), factor);
    }
    if (alone) {
      StoreScaled(args.out + (FirstHead(args) + head) * kHeadSize + 4 * lane, sum, 1 / total);
      continue;
    }
    Put(part + head * kHeadSize + 4 * lane, sum);
    if (lane == 0) Put(part + kSumFloats + 4 * head, {high, total, 1, 1});
  }
}

// Finishes this split's share of the heads from the parts of all `active` splits, which it waits
// for and clears. With none, a padding row, the result is zero.
__device__ __forceinline__ void AddSplits(const DecodeAttention& args, int active) {
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int own = (kMaxGroup + gridDim.x - 1) / gridDim.x;  // heads
  const int first = own * blockIdx.x;
  for (int head = first + warp; head < min(first + own, args.group); head += kWarps) {
    float* totals = PartOf(args, min(lane, active - 1)) + kSumFloats + 4 * head;
    float4 total = {-INFINITY, 0, 0, 0};
    if (lane < active) {
      do total = Peek(totals);
      while (!IsThere(total));
      *reinterpret_cast<float4*>(totals) = {};
    }
    const float high = WarpMax(total.x);
    const float factor = exp2f(total.x - high);
    float4 parts[kMaxSplits], sum = {};
    Take(PartOf(args, 0) + head * kHeadSize + 4 * lane, kPartFloats, active, parts);
#pragma unroll
    for (int i = 0; i < kMaxSplits; ++i) {
      if (i < active) AddScaled(sum, parts[i], __shfl_sync(kAllLanes, factor, i));
    }
    const float scale = active == 0 ? 0 : 1 / WarpSum(factor * total.y);
    StoreScaled(args.out + (FirstHead(args) + head) * kHeadSize + 4 * lane, sum, scale);
  }
}

__global__ void __launch_bounds__(kThreads, 2)
    DecodeAttentionKernel(const DecodeAttention args, const __grid_constant__ Maps maps) {
  extern __shared__ __align__(1024) uint8_t memory[];
  LetNextKernelStart();
  Shared& shared = *reinterpret_cast<Shared*>(memory);
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const Share share = ShareOf(args.lengths[blockIdx.z], blockIdx.x, gridDim.x);
  const auto copy = [&](int tile) {
    CopyTile(args, maps, share.first + tile, shared.slots[warp], &shared.full[warp]);
  };
  if (lane == 0) {
    InitBarrier(&shared.full[warp], 1);
    FenceBarrierInit();
    if (warp < share.tiles) copy(warp);
  }
  __syncwarp();  // the warp's barrier is there
  WaitForKernelBefore();

  // The sequence's last tile belongs to one warp of one block.
  const int tail = (share.length - 1) / kTileKeys - share.first;
  const bool has_tail = tail == share.tiles - 1 && share.tiles > 0 && tail % kWarps == warp;
  uint4 newest = {};
  if (has_tail) newest = LoadNewest(args, share.length);
  const uint32_t q = SharedAddress(shared.q);
  LoadQ(args, q);

  Sums sums;
  uint32_t parity = 0;
  for (int tile = warp; tile < share.tiles; tile += kWarps, parity ^= 1) {
    const uint32_t keys = SharedAddress(shared.slots[warp]);
    Wait(&shared.full[warp], parity);
    if (has_tail && tile == tail) PatchTail(keys, share.length, newest);
    float scores[2][4] = {};
    Score(q, keys, share.length - (share.first + tile) * kTileKeys, scores);
    sums.Raise(scores);
    sums.Add(scores, keys + kHalfBytes);
    __syncwarp();  // the slot is free
    if (lane == 0 && tile + kWarps < share.tiles) copy(tile + kWarps);
  }
  if (share.tiles > 0) {
    sums.Store(reinterpret_cast<float*>(shared.slots[warp]), shared.totals[warp]);
    __syncthreads();  // all warps' sums are there
    AddWarps(args, shared, share.active == 1);
  }
  if (share.active != 1) AddSplits(args, share.active);
}

// Three-dimensional, so that the two halves of a row land as two tiles of 64 channels. How many
// rows there are does not matter: the block table leads to none outside.
CUtensorMap MapOf(const bf16* cache, int kv_heads) {
  constexpr uint64_t kAnyRows = uint64_t{1} << 31;
  const uint64_t heads = static_cast<uint64_t>(kv_heads);
  return MakeTensorMap(cache, {.sizes = {64, kAnyRows, 2 * heads},
                               .strides_bytes = {heads * kHeadBytes, kHeadBytes / 2},
                               .box = {64, kTileKeys, 2}});
}

// The most, of 16, 8, 4, 2 and 1, that leave an SM to each block: blocks of split rows wait for one
// another, so all of them must find room together. Rows that are not split may be any number.
int SplitsOf(int pairs) {
  int splits = kMaxSplits;
  while (splits > 1 && splits * pairs > NumMultiprocessors()) splits /= 2;
  return splits;
}

}  // namespace

int64_t DecodeAttentionWorkspaceBytes() {
  // Split blocks number at most one an SM, and only they leave parts.
  return int64_t{NumMultiprocessors()} * kPartFloats * static_cast<int64_t>(sizeof(float));
}

void Launch(const DecodeAttention& args, cudaStream_t stream) {
  GLIMPSE_CHECK(args.group >= 1 && args.group <= kMaxGroup, "DecodeAttention: group");
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(SplitsOf(args.rows * args.kv_heads)),
                    static_cast<unsigned>(args.kv_heads), static_cast<unsigned>(args.rows));
  shape.block = kThreads;
  shape.shared_bytes = sizeof(Shared);
  AllowSharedMemory(DecodeAttentionKernel, shape.shared_bytes);
  const Maps maps = {MapOf(args.keys, args.kv_heads), MapOf(args.values, args.kv_heads)};
  LaunchInChain(&DecodeAttentionKernel, shape, stream, args, maps);
}

}  // namespace glimpse::kernels
