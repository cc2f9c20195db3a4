// out = x / sqrt(mean(x^2) + eps) * weight,  x and out [rows, hidden], weight [hidden]
//
// A block a row and a thread a pack, which stays in registers between the sum and the product: x is
// read once. More packs a thread were slower, since nothing but other blocks hides a row's barrier.
//
// The wall: 33.6 MB for 2048 rows of 4096: 14.4 us, 2329 GB/s, 78 % of the 3001 GB/s that a kernel
// reaches that only reads (H100 80GB HBM3, 24 November 2026, launches one behind the other in a
// graph).
#include "engine/kernels/device/pack.cuh"
#include "engine/kernels/device/pdl.cuh"
#include "engine/kernels/device/reduce.cuh"
#include "engine/kernels/kernels.h"
#include "engine/kernels/launch.h"
#include "preprocess/check.h"

namespace glimpse::kernels {
namespace {

constexpr int kMaxThreads = kMaxNormWidth / kPack;

__global__ void __launch_bounds__(kMaxThreads, 2) RmsNormKernel(RmsNorm args) {
  __shared__ float scratch[kMaxWarps];
  WaitForKernelBefore();
  LetNextKernelStart();
  const int packs = args.hidden / kPack, i = threadIdx.x;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * packs;
  float x[kPack] = {}, sum = 0;
  if (i < packs) Unpack(LoadPack(args.x, row + i), x);
#pragma unroll
  for (float value : x) sum += value * value;
  const float scale = rsqrtf(BlockSum(sum, scratch) / args.hidden + args.eps);
  if (i >= packs) return;

  float weight[kPack];
  Unpack(LoadPack(args.weight, i), weight);
#pragma unroll
  for (int k = 0; k < kPack; ++k) x[k] *= scale * weight[k];
  StorePack(args.out, row + i, ToPack(x));
}

}  // namespace

void Launch(const RmsNorm& args, cudaStream_t stream) {
  const int threads = (args.hidden / kPack + kWarp - 1) / kWarp * kWarp;
  GLIMPSE_CHECK(args.hidden % kPack == 0 && args.hidden <= kMaxNormWidth, "RmsNorm: hidden");
  if (args.rows == 0) return;
  LaunchInChain(RmsNormKernel, {.grid = args.rows, .block = threads}, stream, args);
}

}  // namespace glimpse::kernels
