// Flash attention for Hopper: softmax(scale q k^T) v a tile of 64-row strips of queries at a time,
// without the scores ever in memory.
//
// A block is persistent: one warp, the producer, copies tiles of queries, keys and values into
// shared memory; each consumer warpgroup owns a strip of 64 queries and walks over the key tiles,
// with the running maximum and sum of each row in registers (online softmax). Two overlaps hide the
// exponentials behind the tensor cores: within a warpgroup, the scores of the next key tile are
// multiplied while this one's values are; between warpgroups, one multiplies while the other takes
// exponentials, in turns that barriers enforce.
//
// What is attended to by whom is a `Problem`:
//   kHeadSize, kKeys (keys of a tile), kConsumers (warpgroups), kStages (key tiles in flight)
//   Params: has the tensor maps, scale_log2 (scale * log2(e)) and `workspace` for Partials
//   Scratch, Prepare(params, scratch): what all threads of the block compute before the roles split
//   Part: `begin`, `end` of `tiles`: the key tiles that this block takes of a tile of queries
//   Parts(params, scratch): Next(&part), and `share`, which says who has the other key tiles
//   Loader{params, shared, lane}: copies, by the producer's 32 lanes together; Enter(part), then
//       Queries() and, tile by tile, Keys(tile, stage) and Values(tile, stage), zeros behind
//       the end
//   VisibleKeys(params, part, row): keys that the query in `row` of the tile looks at; grows with
//       the row
//   Output(params, part, row): where the row's result goes; null: nowhere
#ifndef GLIMPSE_ENGINE_KERNELS_DEVICE_FLASH_ATTENTION_CUH_
#define GLIMPSE_ENGINE_KERNELS_DEVICE_FLASH_ATTENTION_CUH_

#include <algorithm>

#include "engine/kernels/cuda_error.h"
#include "engine/kernels/device/flash_consumer.cuh"
#include "engine/kernels/device/flash_producer.cuh"
#include "engine/kernels/device/reduce.cuh"
#include "engine/kernels/device/wgmma.cuh"
#include "engine/kernels/launch.h"

namespace glimpse::kernels {

template <class Problem>
constexpr int kFlashThreads = kWarpgroup*(1 + Problem::kConsumers);
// With room to begin at a multiple of 1024, as the swizzle wants.
template <class Problem>
constexpr int kFlashSharedBytes = sizeof(FlashShared<Problem>) + 1024;

template <class Problem>
__global__ void __launch_bounds__(kFlashThreads<Problem>, 1)
    FlashAttention(const __grid_constant__ typename Problem::Params params) {
  extern __shared__ uint8_t raw[];
  auto& shared =
      *reinterpret_cast<FlashShared<Problem>*>(raw + (1024 - SharedAddress(raw) % 1024) % 1024);
  if (threadIdx.x == 0) InitFlashBarriers(shared);
  Problem::Prepare(params, shared.scratch);
  __syncthreads();
  // The producer gives most of its registers to the consumers.
  constexpr bool kTwo = Problem::kConsumers == 2;
  if (threadIdx.x < kWarpgroup) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kTwo ? 40 : 32));
    if (threadIdx.x < kWarp) Produce<Problem>(params, shared);
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kTwo ? 232 : 160));
    const int strip = __shfl_sync(kAllLanes, static_cast<int>(threadIdx.x / kWarpgroup) - 1, 0);
    Consumer<Problem> consumer{params, shared, strip, {}, {}};
    consumer.Run();
  }
}

// One block a multiprocessor.
template <class Problem>
void LaunchFlash(const typename Problem::Params& params, cudaStream_t stream) {
  static const int blocks = [] {
    AllowSharedMemory(FlashAttention<Problem>, kFlashSharedBytes<Problem>);
    return std::min(NumMultiprocessors(), kMaxRanges);
  }();
  FlashAttention<Problem>
      <<<blocks, kFlashThreads<Problem>, kFlashSharedBytes<Problem>, stream>>>(params);
  CheckCuda(cudaGetLastError(), "FlashAttention");
}

}  // namespace glimpse::kernels

#endif  // GLIMPSE_ENGINE_KERNELS_DEVICE_FLASH_ATTENTION_CUH_
