// scores = q k^T / sqrt(128),  out = softmax(scores) v,  for one new token a row and KV head:
//   q [group, 128], k and v [length, 128], out [group, 128]
//
// Keys and values are read once and the arithmetic is next to nothing, so what counts is to have
// enough copies in flight, early, on every SM alike: then the kernel behind fills its own buffers
// on every SM while this one ends. So the keys of a (row, KV head) are split over as many blocks as
// make one block an SM. Every warp streams tiles of 16 keys (a KV block) through a ring of its own,
// begun before it waits for the kernel that makes q: all keys but the newest are old. The query
// heads of a KV head are the 16 rows of the tensor core's product (those past the group are zero).
// In the end the block's warps add their sums, and the splits exchange theirs through the
// workspace, where each finishes some of the heads. Everything is added in the sequence's order, so
// the bits are the same each time.
//
// A block waits there for the others of its row, so there are never more blocks of split rows than
// SMs. Clusters, whose blocks exchange sums without memory, were slower here: their blocks must
// find room in one part of the chip at once, while the kernels before and behind hold half of each
// SM.
#include <algorithm>

#include "engine/kernels/cuda_error.h"
#include "engine/kernels/device/decode_tile.cuh"
#include "engine/kernels/device/mbarrier.cuh"
#include "engine/kernels/device/pdl.cuh"
#include "engine/kernels/device/reduce.cuh"
#include "engine/kernels/device/tma.cuh"
#include "engine/kernels/device/zero_exchange.cuh"
#include "engine/kernels/kernels.h"
#include "engine/kernels/tensor_map.h"
#include "preprocess/check.h"

namespace glimpse::kernels {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarp;
constexpr int kSlots = 1;  // of a warp: 64 KiB a block leave the next kernel's block its room
constexpr int kSlotBytes = 2 * kHalfBytes;
constexpr int kMaxSplits = 16;
constexpr int kPartFloats = kMaxGroup * kHeadSize;
constexpr int kPartStride = kPartFloats + 4 * kMaxGroup;

static_assert(kPartFloats * sizeof(float) <= kSlots * kSlotBytes, "sums fit a warp's ring");

struct Maps {
  CUtensorMap keys, values;
};

struct Shared {
  unsigned char ring[kWarps][kSlots][kSlotBytes];              // at the end: each warp's sums
  alignas(1024) unsigned char q[2][kMaxGroup][kRowBytes / 2];  // as the copy engine would leave it
  float2 totals[kWarps][kMaxGroup];                            // (maximum, sum) of a head
  uint64_t full[kWarps][kSlots];
};

// The tiles of one split.
struct Share {
  int length;  // of the sequence, in keys
  int active;  // splits that have tiles
  int first;   // tile
  int tiles;
};

__device__ __forceinline__ Share ShareOf(int length, int split, int splits) {
  const int tiles = (length + kTile - 1) / kTile;
  const int run = (tiles + splits - 1) / splits;
  const int first = min(split * run, tiles);
  return {length, run == 0 ? 0 : (tiles + run - 1) / run, first, min(run, tiles - first)};
}

// Row of q, out and of the exchange that is this block's first.
__device__ __forceinline__ int64_t FirstHead(const DecodeAttention& args) {
  return (static_cast<int64_t>(blockIdx.z) * args.kv_heads + blockIdx.y) * args.group;
}

__device__ __forceinline__ int BlockOf(const DecodeAttention& args, int tile) {
  return args.block_table[static_cast<int64_t>(blockIdx.z) * args.max_blocks + tile];
}

// By one lane: asks for a tile, with whatever lies behind the last key.
__device__ __forceinline__ void CopyTile(const DecodeAttention& args, const Maps& maps, int tile,
                                         unsigned char* slot, uint64_t* full) {
  const int row = BlockOf(args, tile) * kTile;
  const int head = 2 * blockIdx.y;  // in halves
  ArriveAndExpect(full, kSlotBytes);
  CopyBox(slot, &maps.keys, full, kEvictFirst, 0, row, head);
  CopyBox(slot + kHalfBytes, &maps.values, full, kEvictFirst, 0, row, head);
}

// The newest row as a warp holds it: 16 bytes a lane, keys then values.
__device__ __forceinline__ uint4 LoadNewest(const DecodeAttention& args, int length) {
  const int lane = threadIdx.x % kWarp;
  const int newest = length - 1;
  const int64_t row = static_cast<int64_t>(BlockOf(args, newest / kTile)) * kTile + newest % kTile;
  const bf16* from =
      (lane < 16 ? args.keys : args.values) + (row * args.kv_heads + blockIdx.y) * kHeadSize;
  return __ldcg(reinterpret_cast<const uint4*>(from) + lane % 16);
}

// Puts the newest row in its place in the last tile, and zero values behind it: what lies there may
// be NaN.
__device__ __forceinline__ void PatchTail(uint32_t slot, int length, uint4 newest) {
  const int lane = threadIdx.x % kWarp;
  const int row = (length - 1) % kTile;
  StoreShared(At(lane < 16 ? slot : slot + kHalfBytes, row, lane % 16), newest);
  if (lane >= 16) {
    for (int i = row + 1; i < kTile; ++i) StoreShared(At(slot + kHalfBytes, i, lane % 16), uint4{});
  }
  __syncwarp();
}

// Puts q of the 16 heads into shared memory.
__device__ __forceinline__ void LoadQ(const DecodeAttention& args, uint32_t to) {
  const auto* from = reinterpret_cast<const uint4*>(args.q + FirstHead(args) * kHeadSize);
#pragma unroll
  for (int i = threadIdx.x; i < kMaxGroup * 16; i += kThreads) {
    StoreShared(At(to, i / 16, i % 16), i / 16 < args.group ? __ldcg(from + i) : uint4{});
  }
  __syncthreads();  // q is there
}

// Where split `split` of this block's (row, KV head) leaves its sums: [16, 128], then totals as
// (maximum, sum, 1, 1).
__device__ __forceinline__ float* PartOf(const DecodeAttention& args, int split) {
  const int64_t pair = static_cast<int64_t>(blockIdx.z) * gridDim.y + blockIdx.y;
  return static_cast<float*>(args.workspace) + (pair * gridDim.x + split) * kPartStride;
}

__device__ __forceinline__ void Write(bf16* out, float4 x, float scale) {
  const uint2 bits = {ToBf16(x.x * scale, x.y * scale), ToBf16(x.z * scale, x.w * scale)};
  *reinterpret_cast<uint2*>(out) = bits;
}

__device__ __forceinline__ void AddScaled(float4& sum, float4 x, float factor) {
  sum.x += x.x * factor;
  sum.y += x.y * factor;
  sum.z += x.z * factor;
  sum.w += x.w * factor;
}

// Adds the warps' sums; writes them if no other split has any, else leaves them to the splits that
// finish the heads. A warp takes a head at a time, a lane four channels.
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
      const auto* sums = reinterpret_cast<const float*>(shared.ring[i]) + SumAt(head, 4 * lane);
      const float factor = exp2f(shared.totals[i][head].x - high);
      total += factor * shared.totals[i][head].y;
      AddScaled(sum, *reinterpret_cast<const float4*>(sums), factor);
    }
    if (alone) {
      Write(args.out + (FirstHead(args) + head) * kHeadSize + 4 * lane, sum, 1 / total);
      continue;
    }
    Put(part + head * kHeadSize + 4 * lane, sum);
    if (lane == 0) Put(part + kPartFloats + 4 * head, {high, total, 1, 1});
  }
}

// Finishes this split's share of the heads from what all `active` splits left.
__device__ __forceinline__ void AddSplits(const DecodeAttention& args, int active) {
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int own = (kMaxGroup + gridDim.x - 1) / gridDim.x;
  const int first = own * blockIdx.x;
  for (int head = first + warp; head < min(first + own, args.group); head += kWarps) {
    float* totals = PartOf(args, min(lane, active - 1)) + kPartFloats + 4 * head;
    float4 total = {-INFINITY, 0, 0, 0};
    if (lane < active) {
      do total = Peek(totals);
      while (!IsThere(total));
      *reinterpret_cast<float4*>(totals) = {};
    }
    const float high = WarpMax(total.x);
    const float factor = exp2f(total.x - high);
    float4 parts[kMaxSplits], sum = {};
    Take(PartOf(args, 0) + head * kHeadSize + 4 * lane, kPartStride, active, parts);
#pragma unroll
    for (int i = 0; i < kMaxSplits; ++i) {
      if (i < active) AddScaled(sum, parts[i], __shfl_sync(kAllLanes, factor, i));
    }
    const float scale = active == 0 ? 0 : 1 / WarpSum(factor * total.y);
    Write(args.out + (FirstHead(args) + head) * kHeadSize + 4 * lane, sum, scale);
  }
}

__global__ void __launch_bounds__(kThreads, 2)
    DecodeAttentionKernel(const DecodeAttention args, const __grid_constant__ Maps maps) {
  extern __shared__ __align__(1024) unsigned char memory[];
  LetNextKernelStart();
  Shared& shared = *reinterpret_cast<Shared*>(memory);
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const Share share = ShareOf(args.lengths[blockIdx.z], blockIdx.x, gridDim.x);
  auto copy = [&](int tile, int slot) {
    CopyTile(args, maps, share.first + tile, shared.ring[warp][slot], &shared.full[warp][slot]);
  };
  if (lane == 0) {
    for (uint64_t& full : shared.full[warp]) InitBarrier(&full, 1);
    FenceBarrierInit();
    for (int i = 0; i < kSlots && warp + i * kWarps < share.tiles; ++i) copy(warp + i * kWarps, i);
  }
  __syncwarp();  // the warp's barriers are there
  WaitForKernelBefore();

  // The sequence's last tile belongs to one warp of one block.
  const int tail = (share.length - 1) / kTile - share.first;
  const bool has_tail = tail == share.tiles - 1 && share.tiles > 0 && tail % kWarps == warp;
  uint4 newest = {};
  if (has_tail) newest = LoadNewest(args, share.length);
  const uint32_t q = SharedAddress(shared.q);
  LoadQ(args, q);

  Sums sums;
  uint32_t slot = 0, parity = 0;
  for (int tile = warp; tile < share.tiles; tile += kWarps) {
    const uint32_t keys = SharedAddress(shared.ring[warp][slot]);
    Wait(&shared.full[warp][slot], parity);
    if (has_tail && tile == tail) PatchTail(keys, share.length, newest);
    float scores[2][4] = {};
    Score(q, keys, share.length - (share.first + tile) * kTile, scores);
    sums.Raise(scores);
    sums.Add(scores, keys + kHalfBytes);
    __syncwarp();  // the slot is free
    const int next = tile + kSlots * kWarps;
    if (lane == 0 && next < share.tiles) copy(next, slot);
    if (++slot == kSlots) slot = 0, parity ^= 1;
  }
  if (share.tiles > 0) {
    sums.Store(reinterpret_cast<float*>(shared.ring[warp]), shared.totals[warp]);
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
                               .strides_bytes = {heads * kRowBytes, kRowBytes / 2},
                               .box = {64, kTile, 2}});
}

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

int SplitsOf(int pairs) {
  int splits = kMaxSplits;
  while (splits > 1 && splits * pairs > NumMultiprocessors()) splits /= 2;
  return splits;
}

}  // namespace

int64_t DecodeAttentionWorkspaceBytes() {
  return int64_t{NumMultiprocessors()} * kPartStride * static_cast<int64_t>(sizeof(float));
}

void Launch(const DecodeAttention& args, cudaStream_t stream) {
  GLIMPSE_CHECK(args.group >= 1 && args.group <= kMaxGroup, "DecodeAttention: group");
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(SplitsOf(args.rows * args.kv_heads)),
                    static_cast<unsigned>(args.kv_heads), static_cast<unsigned>(args.rows));
  shape.block = kThreads;
  shape.shared_bytes = sizeof(Shared);
  CheckCuda(cudaFuncSetAttribute(DecodeAttentionKernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 static_cast<int>(shape.shared_bytes)),
            "DecodeAttention's shared memory");
  const Maps maps = {MapOf(args.keys, args.kv_heads), MapOf(args.values, args.kv_heads)};
  LaunchInChain(&DecodeAttentionKernel, shape, stream, args, maps);
}

}  // namespace glimpse::kernels
