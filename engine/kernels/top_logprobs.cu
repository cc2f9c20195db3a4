// ids, logprobs [rows, count]: the likeliest of logits [rows, vocabulary] and their log_softmax
//
// A block a row; thread t has ids t, t + 1024, ... and knows the best of them that is not taken
// yet. `count` times the block takes the best of those, and the thread that had it looks through
// its ids again for the next in order. Answers that ask for alternatives are rare, so this is
// plain.
//
// The wall: the logits once, 0.6 MB a row. 20 of 151552 ids take 128 us at 4 rows and 130 us at 64,
// 0.6 and 10 % of 3001 GB/s (H100 80GB HBM3, 24 November 2026, launches one behind the other in a
// graph), most of it those second looks.
#include "engine/kernels/cuda_error.h"
#include "engine/kernels/device/token_rank.cuh"
#include "engine/kernels/kernels.h"
#include "preprocess/check.h"

namespace glimpse::kernels {
namespace {

constexpr int kThreads = 1024;
constexpr int kMaxCount = 20;

// The thread's best id behind `last` in the order; 0: none.
__device__ uint64_t Next(const float* logits, int vocabulary, uint64_t last) {
  uint64_t best = 0;
#pragma unroll 8
  for (int id = threadIdx.x; id < vocabulary; id += kThreads) {
    const uint64_t rank = TokenRank(logits[id], id);
    if (rank < last) best = max(best, rank);
  }
  return best;
}

__global__ void __launch_bounds__(kThreads) TopLogprobsKernel(TopLogprobs args) {
  __shared__ uint64_t best_of_warps[2][kMaxWarps];  // in turn: one barrier a round is enough
  __shared__ float sum_of_warps[kMaxWarps];
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const float* logits = args.logits + static_cast<int64_t>(blockIdx.x) * args.vocabulary;
  uint64_t best = Next(logits, args.vocabulary, ~uint64_t{0});
  float log_sum = 0;
  for (int k = 0; k < args.count; ++k) {
    const uint64_t of_warp = WarpMaxRank(best);
    if (lane == 0) best_of_warps[k % 2][warp] = of_warp;
    __syncthreads();  // every warp's best is there
    const uint64_t of_block = WarpMaxRank(best_of_warps[k % 2][lane]);
    const float score = RankScore(of_block);
    if (k == 0) {
      float sum = 0;
#pragma unroll 8
      for (int id = threadIdx.x; id < args.vocabulary; id += kThreads) {
        sum += __expf(logits[id] - score);
      }
      log_sum = score + logf(BlockSum(sum, sum_of_warps));
    }
    if (best != of_block) continue;
    args.ids[blockIdx.x * args.count + k] = RankId(of_block);
    args.logprobs[blockIdx.x * args.count + k] = score - log_sum;
    best = Next(logits, args.vocabulary, of_block);
  }
}

}  // namespace

void Launch(const TopLogprobs& args, cudaStream_t stream) {
  GLIMPSE_CHECK(args.count >= 1 && args.count <= kMaxCount && args.count <= args.vocabulary,
                "TopLogprobs: count");
  if (args.rows == 0) return;
  TopLogprobsKernel<<<args.rows, kThreads, 0, stream>>>(args);
  CheckCuda(cudaGetLastError(), "TopLogprobs");
}

}  // namespace glimpse::kernels
