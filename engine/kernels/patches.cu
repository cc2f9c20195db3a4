// out[picture, patch, channel, y, x] = (pixel / 255 - mean[channel]) / deviation[channel]
//   pixels [pictures, size, size, 3] uint8, out [pictures, (size / patch)^2, 3, patch, patch]
//
// The rows of the patch convolution's input: it becomes one matrix product. A thread takes two
// pixels side by side, six bytes that its neighbours' six follow, and writes a pair to each of the
// three channels.
//
// The wall: 11.3 MB for a picture of 1120 x 1120: 10.7 us, 1057 GB/s, 35 % of the 3001 GB/s that a
// kernel reaches that only reads (H100 80GB HBM3, 24 November 2026, launches one behind the other
// in a graph). Little to move, in runs of 28 bytes; it is less than a ten-thousandth of the tower.
#include "engine/kernels/device/pdl.cuh"
#include "engine/kernels/kernels.h"
#include "engine/kernels/launch.h"
#include "preprocess/ceil_div.h"
#include "preprocess/check.h"

namespace glimpse::kernels {
namespace {

constexpr int kThreads = 192;
constexpr int kChannels = 3;

__global__ void __launch_bounds__(kThreads) PatchesKernel(Patches args) {
  // CLIP's, of pixels from 0 to 1.
  constexpr float kMean[] = {0.48145466f, 0.4578275f, 0.40821073f};
  constexpr float kDeviation[] = {0.26862954f, 0.26130258f, 0.27577711f};
  WaitForKernelBefore();
  LetNextKernelStart();
  const int y = blockIdx.y, picture = blockIdx.z;
  const int grid = args.size / args.patch, area = args.patch * args.patch;
  const int64_t line = (static_cast<int64_t>(picture) * args.size + y) * args.size * kChannels;
  const uchar2* pixels = reinterpret_cast<const uchar2*>(args.pixels + line);
  const int64_t first_patch = (static_cast<int64_t>(picture) * grid + y / args.patch) * grid;
  const int pair = blockIdx.x * kThreads + threadIdx.x, x = 2 * pair;
  if (x >= args.size) return;
  const uchar2 a = pixels[3 * pair], b = pixels[3 * pair + 1], c = pixels[3 * pair + 2];
  const uint8_t left[] = {a.x, a.y, b.x}, right[] = {b.y, c.x, c.y};
  bf16* out = args.out + (first_patch + x / args.patch) * kChannels * area +
              (y % args.patch) * args.patch + x % args.patch;
#pragma unroll
  for (int channel = 0; channel < kChannels; ++channel) {
    const float mean = kMean[channel], factor = 1.0f / kDeviation[channel];
    *reinterpret_cast<__nv_bfloat162*>(out + channel * area) = __floats2bfloat162_rn(
        (left[channel] / 255.0f - mean) * factor, (right[channel] / 255.0f - mean) * factor);
  }
}

}  // namespace

void Launch(const Patches& args, cudaStream_t stream) {
  GLIMPSE_CHECK(args.patch % 2 == 0 && args.size % args.patch == 0, "Patches: size and patch");
  if (args.pictures == 0) return;
  const dim3 grid(CeilDiv(args.size / 2, kThreads), args.size, args.pictures);
  LaunchInChain(PatchesKernel, {.grid = grid, .block = kThreads}, stream, args);
}

}  // namespace glimpse::kernels
