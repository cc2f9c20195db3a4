// results [rows] of logits [rows, vocabulary]. A token a row: repetition penalty over the slot's
// seen ids, temperature, top_k (ties with the k-th stay), top_p (an id stays while those before it
// have not reached it), one draw; engine/sampler.h is the same on the CPU.
//
// A cluster of eight blocks a row, each an eighth of the ids, so that the row stays in shared
// memory through all passes and four rows already keep 32 SMs busy. The pass that loads it finds
// the best score, the log-sum of the raw logits and whether they are finite; greedy rows leave
// after it. The rest is a search each for the end of top_k, the end of top_p and the draw
// (token_search.cuh).
//
// The wall: the logits once, 0.6 MB a row, which the head's product leaves in the L2 cache; what
// takes the time is the cluster's barriers and the instructions a token. H100 80GB HBM3, 24
// November 2026, launches one behind the other in a graph, 151552 ids, logits of deviation 3 (flat:
// 1), temperature 0.8; microseconds and share of 3001 GB/s:
//   rows                          4             64
//   greedy                5.0  16 %      19.5  66 %
//   top_p 0.8            18.9   4 %      69.7  19 %
//   top_k 50, top_p 0.8  21.8   4 %      78.4  16 %
//   top_p 0.8, flat      31.7   3 %     108.7  12 %
#include <cooperative_groups.h>
#include <cuda_pipeline_primitives.h>

#include <cfloat>
#include <cmath>

#include "engine/kernels/device/cluster.cuh"
#include "engine/kernels/device/exp2.cuh"
#include "engine/kernels/device/pdl.cuh"
#include "engine/kernels/device/reduce.cuh"
#include "engine/kernels/device/token_chunk.cuh"
#include "engine/kernels/device/token_rank.cuh"
#include "engine/kernels/device/token_search.cuh"
#include "engine/kernels/kernels.h"
#include "engine/kernels/launch.h"
#include "engine/uniform_draw.h"
#include "preprocess/check.h"

namespace glimpse::kernels {
namespace {

static_assert(kMaxVocabulary == kTokenCluster * kMaxChunk);

// Ids of a block: whole words of `seen`.
__host__ __device__ constexpr int ChunkOf(int vocabulary) {
  return (vocabulary + 32 * kTokenCluster - 1) / (32 * kTokenCluster) * 32;
}

constexpr int kBlocks = 2;  // of an SM

// What a block knows of its chunk after one pass.
struct Partial {
  uint64_t best = 0;  // TokenRank after the penalty
  LogSum raw;
  bool finite = true;

  __device__ void Add(const Partial& other) {
    best = max(best, other.best);
    raw.Add(other.raw);
    finite = finite && other.finite;
  }
};

struct SampleMemory {
  uint32_t seen[kMaxChunk / 32];  // of the chunk
  Partial of_warps[kMaxWarps];
  Partial of_blocks[kTokenCluster];
  TokenSearchMemory search;
};

// As transformers: divides what is positive, multiplies what is negative. Kept finite.
__device__ float Penalise(float logit, float penalty) {
  const float score = logit < 0 ? logit * penalty : logit / penalty;
  return fminf(fmaxf(score, -FLT_MAX), FLT_MAX);
}

// Copies the chunk's logits, -FLT_MAX behind its end, and its words of `seen`. Waits for what this
// thread has copied.
__device__ void CopyChunk(const Sample& args, const uint32_t* seen, const TokenChunk& chunk,
                          uint32_t* seen_here) {
  const float* logits =
      args.logits + static_cast<int64_t>(blockIdx.y) * args.vocabulary + chunk.first_id;
  const bool aligned = args.vocabulary % 4 == 0;  // rows and chunks begin at multiples of 16 bytes
  for (int i = 4 * threadIdx.x; i < TokenChunk::Room(chunk.count); i += 4 * kTokenThreads) {
    if (aligned && i < chunk.count) {
      __pipeline_memcpy_async(&chunk.values[i], &logits[i], sizeof(float4));
      continue;
    }
    for (int j = i; j < i + 4; ++j) chunk.values[j] = j < chunk.count ? logits[j] : -FLT_MAX;
  }
  if (seen != nullptr) {
    for (int i = threadIdx.x; i < (chunk.count + 31) / 32; i += kTokenThreads) {
      __pipeline_memcpy_async(&seen_here[i], &seen[chunk.first_id / 32 + i], sizeof(uint32_t));
    }
  }
  __pipeline_commit();
  __pipeline_wait_prior(0);
}

// Applies the penalty to a batch of the chunk's logits.
__device__ void PenaliseBatch(const TokenChunk& chunk, const uint32_t* seen, float penalty,
                              int base, float (&x)[TokenChunk::kBatch]) {
#pragma unroll
  for (int j = 0; j < TokenChunk::kBatch; ++j) {
    const int i = TokenChunk::IndexOf(base, j);
    if (i < chunk.count && (seen[i / 32] >> i % 32 & 1)) x[j] = Penalise(x[j], penalty);
  }
  chunk.Store(base, x);
}

__device__ float MaxOf(const float (&x)[TokenChunk::kBatch]) {
  float most = x[0];
#pragma unroll
  for (int j = 1; j < TokenChunk::kBatch; ++j) most = fmaxf(most, x[j]);
  return most;
}

// Of this thread's logits of the chunk, which become scores.
__device__ Partial ReadChunk(const TokenChunk& chunk, const uint32_t* seen, float penalty) {
  Partial partial;
  float x[TokenChunk::kBatch];
  float best = -FLT_MAX, zero = 0;
  int best_base = 0;
  for (int base = 0; base < chunk.count; base += TokenChunk::kBatchIds) {
    chunk.Load(base, x);
    float most = MaxOf(x);
    partial.raw.Raise(most);
#pragma unroll
    for (int j = 0; j < TokenChunk::kBatch; ++j) {
      zero = fmaf(x[j], 0, zero);  // NaN from the first value that is not finite
      partial.raw.sum += FastExp2(kLog2E * (x[j] - partial.raw.max));
    }
    if (penalty != 1) {
      PenaliseBatch(chunk, seen, penalty, base, x);
      most = MaxOf(x);
    }
    if (most > best) {
      best = most;
      best_base = base;
    }
  }
  partial.finite = zero == 0;
  if (chunk.count == 0) return partial;
  chunk.Load(best_base, x);
  int best_id = chunk.first_id;
#pragma unroll
  for (int j = TokenChunk::kBatch - 1; j >= 0; --j) {
    if (x[j] == best) best_id = chunk.first_id + TokenChunk::IndexOf(best_base, j);
  }
  partial.best = TokenRank(best, best_id);
  return partial;
}

// Puts -infinity behind the chunk's end, further away than any token.
__device__ void CloseChunk(const TokenChunk& chunk) {
  const int base = TokenChunk::Room(chunk.count) - TokenChunk::kBatchIds;
#pragma unroll
  for (int j = 0; j < TokenChunk::kBatch; ++j) {
    const int i = TokenChunk::IndexOf(base, j);
    if (base >= 0 && i >= chunk.count) chunk.values[i] = -INFINITY;
  }
}

__device__ Partial WarpPartial(const Partial& partial) {
  return {WarpMaxRank(partial.best), WarpLogSum(partial.raw),
          __all_sync(kAllLanes, partial.finite) != 0};
}

// Of the whole row, for all threads of the cluster. Adds in an order that is always the same.
__device__ Partial ClusterPartial(const Partial& of_thread, SampleMemory& memory) {
  const auto cluster = cooperative_groups::this_cluster();
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const Partial of_warp = WarpPartial(of_thread);
  if (lane == 0) memory.of_warps[warp] = of_warp;
  __syncthreads();
  if (warp == 0) {
    Partial of_lane;
    if (lane < kTokenThreads / kWarp) of_lane = memory.of_warps[lane];
    const Partial of_block = WarpPartial(of_lane);
    ClusterWait();  // all blocks of the cluster run
    if (lane < kTokenCluster) {
      *cluster.map_shared_rank(&memory.of_blocks[cluster.block_rank()], lane) = of_block;
    }
  } else {
    ClusterWait();
  }
  cluster.sync();
  Partial all = memory.of_blocks[0];
  for (int rank = 1; rank < kTokenCluster; ++rank) all.Add(memory.of_blocks[rank]);
  return all;
}

// The id that the row's seed draws among those that top_k and top_p leave.
__device__ int Draw(TokenSearch& search, const SampleRow& row, int vocabulary) {
  uint64_t mass = row.top_k > 0 && row.top_k < vocabulary
                      ? search.Find({true, static_cast<uint64_t>(row.top_k)}).mass
                      : search.TotalMass();
  if (row.top_p < 1) {
    const uint64_t cut = __double2ull_ru(row.top_p * static_cast<double>(mass));
    mass = search.Find({false, max(cut, uint64_t{1})}).mass;
  }
  const double uniform = UniformDraw(row.seed, row.sample_index);
  const uint64_t target = __double2ull_rd(uniform * static_cast<double>(mass));
  return search.Find({false, target + 1}).id;
}

__global__ void __launch_bounds__(kTokenThreads, kBlocks) SampleKernel(Sample args) {
  extern __shared__ float4 chunk_memory[];
  __shared__ SampleMemory memory;
  ClusterArrive();
  TokenSearch::Clear(memory.search);
  WaitForKernelBefore();
  LetNextKernelStart();

  const SampleRow row = args.params[blockIdx.y];
  if (row.slot < 0 || row.samples <= 0) {
    ClusterWait();
    return;
  }
  const float* logits = args.logits + static_cast<int64_t>(blockIdx.y) * args.vocabulary;
  uint32_t* seen = args.seen + static_cast<int64_t>(row.slot) * SeenWords(args.vocabulary);
  const int share = ChunkOf(args.vocabulary);
  const int first = min(static_cast<int>(blockIdx.x) * share, args.vocabulary);
  const TokenChunk chunk = {reinterpret_cast<float*>(chunk_memory),
                            min(share, args.vocabulary - first), first};

  const float penalty = row.repetition_penalty;
  CopyChunk(args, penalty == 1 ? nullptr : seen, chunk, memory.seen);
  __syncthreads();  // all have their words of `seen`
  const Partial all = ClusterPartial(ReadChunk(chunk, memory.seen, penalty), memory);
  int id = RankId(all.best);
  if (all.finite && row.temperature > 0) {
    CloseChunk(chunk);
    TokenSearch search(memory.search, chunk, RankScore(all.best), row.temperature);
    id = Draw(search, row, args.vocabulary);
  }
  if (blockIdx.x != 0 || threadIdx.x != 0) return;
  if (!all.finite) {
    args.results[blockIdx.y] = {0, 0, 0};
    return;
  }
  args.results[blockIdx.y] = {id, logits[id] - all.raw.Log(), 1};
  args.last_tokens[row.slot] = id;
  seen[id / 32] |= 1u << id % 32;
}

}  // namespace

void Launch(const Sample& args, cudaStream_t stream) {
  GLIMPSE_CHECK(args.vocabulary >= 1 && args.vocabulary <= kMaxVocabulary, "Sample: vocabulary");
  if (args.rows == 0) return;
  const size_t shared_bytes =
      sizeof(float) * static_cast<size_t>(TokenChunk::Room(ChunkOf(args.vocabulary)));
  AllowSharedMemory(SampleKernel, shared_bytes);
  const dim3 grid(kTokenCluster, static_cast<unsigned>(args.rows));
  LaunchInChain(SampleKernel, {grid, dim3(kTokenThreads), shared_bytes, kTokenCluster}, stream,
                args);
}

}  // namespace glimpse::kernels
