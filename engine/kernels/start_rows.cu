// residual[r] = table[index(r)] in float, x[r] = residual[r] * weight, and the sum of squares of
// each 32 channels: what the first product of a step reads (decode_linear.h).
//   table [.., hidden], weight [hidden], residual and x [rows, hidden], sums [hidden / 32, rows]
//
// A block takes a row, a warp 64 channels at a time, so a sum of squares stays in half a warp.
//
// The wall: 32 KB a row of 4096 channels, some 2 MB for 64 rows; what is moved takes less than the
// launch. Not timed alone.
#include "engine/kernels/decode_linear.h"
#include "engine/kernels/device/pdl.cuh"
#include "engine/kernels/device/reduce.cuh"
#include "engine/kernels/kernels.h"
#include "engine/kernels/launch.h"
#include "preprocess/check.h"

namespace glimpse::kernels {
namespace {

constexpr int kThreads = 512;
constexpr int kTile = 2 * kLinearTile;  // channels of a warp: two a lane

__global__ void __launch_bounds__(kThreads) StartRowsKernel(StartRows args) {
  LetNextKernelStart();
  WaitForKernelBefore();
  const int row = blockIdx.x, lane = threadIdx.x % kWarp;
  int index = args.indices[row];
  if (index == kFromSlot) index = args.last_tokens[args.params[row].slot];
  const auto* from = reinterpret_cast<const __nv_bfloat162*>(
      args.table + static_cast<int64_t>(index) * args.hidden);
  const auto* weight = reinterpret_cast<const __nv_bfloat162*>(args.weight);
  const int64_t first = static_cast<int64_t>(row) * args.hidden;
  auto* residual = reinterpret_cast<float2*>(args.residual + first);
  auto* x = reinterpret_cast<__nv_bfloat162*>(args.x + first);
  for (int tile = threadIdx.x / kWarp; tile < args.hidden / kTile; tile += kThreads / kWarp) {
    const int pair = tile * kTile / 2 + lane;
    const float2 value = __bfloat1622float2(from[pair]), scale = __bfloat1622float2(weight[pair]);
    residual[pair] = value;
    x[pair] = __floats2bfloat162_rn(value.x * scale.x, value.y * scale.y);
    float sum = value.x * value.x + value.y * value.y;
    for (int lanes = kWarp / 4; lanes > 0; lanes /= 2) {  // over half a warp: kLinearTile channels
      sum += __shfl_xor_sync(kAllLanes, sum, lanes);
    }
    if (lane % 16 == 0) args.sum_squares[(2 * tile + lane / 16) * args.rows + row] = sum;
  }
}

}  // namespace

void Launch(const StartRows& args, cudaStream_t stream) {
  GLIMPSE_CHECK(args.hidden % kTile == 0, "StartRows: hidden");
  LaunchInChain(StartRowsKernel, {.grid = static_cast<unsigned>(args.rows), .block = kThreads},
                stream, args);
}

}  // namespace glimpse::kernels
