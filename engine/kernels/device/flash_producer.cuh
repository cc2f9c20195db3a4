// The producer's half of flash attention (flash_attention.cuh): the rings of tiles in shared
// memory, and the warp that fills them.
#ifndef GLIMPSE_ENGINE_KERNELS_DEVICE_FLASH_PRODUCER_CUH_
#define GLIMPSE_ENGINE_KERNELS_DEVICE_FLASH_PRODUCER_CUH_

#include <cuda_bf16.h>

#include "engine/kernels/device/mbarrier.cuh"
#include "engine/kernels/device/reduce.cuh"

namespace glimpse::kernels {

constexpr int kStripRows = 64;       // queries of a warpgroup
constexpr int kSwizzleColumns = 64;  // channels of a box

template <class Problem>
struct FlashShared {
  static constexpr int kStages = Problem::kStages;
  // Channels in two halves of 64, the second filled up with zeros.
  __nv_bfloat16 queries[Problem::kConsumers][2][kStripRows * kSwizzleColumns];
  __nv_bfloat16 keys[kStages][2][Problem::kKeys * kSwizzleColumns];
  __nv_bfloat16 values[kStages][2][Problem::kKeys * kSwizzleColumns];
  uint64_t queries_full, queries_empty;
  uint64_t keys_full[kStages], keys_empty[kStages];
  uint64_t values_full[kStages], values_empty[kStages];
  typename Problem::Scratch scratch;
};

// A place in a ring of stages, and the parity of the barriers' phase there.
template <int kStages>
struct RingPlace {
  int stage = 0;
  uint32_t parity = 0;
  __device__ void Advance() {
    if (++stage == kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

template <class Problem>
__device__ __forceinline__ void InitFlashBarriers(FlashShared<Problem>& shared) {
  constexpr int kReaders = Problem::kConsumers * 4;  // warps
  InitBarrier(&shared.queries_full, 1);
  InitBarrier(&shared.queries_empty, kReaders);
  for (int stage = 0; stage < Problem::kStages; ++stage) {
    InitBarrier(&shared.keys_full[stage], 1);
    InitBarrier(&shared.keys_empty[stage], kReaders);
    InitBarrier(&shared.values_full[stage], 1);
    InitBarrier(&shared.values_empty[stage], kReaders);
  }
  FenceBarrierInit();
}

template <class Problem>
__device__ __forceinline__ void Produce(const typename Problem::Params& params,
                                        FlashShared<Problem>& shared) {
  const int lane = threadIdx.x % kWarp;
  constexpr int kTileBytes = sizeof(shared.keys[0]);
  typename Problem::Parts parts(params, shared.scratch);
  typename Problem::Part part;
  typename Problem::Loader loader{params, shared, lane};
  RingPlace<Problem::kStages> keys, values;
  uint32_t parity = 0;
  const auto load_keys = [&](int tile) {
    Wait(&shared.keys_empty[keys.stage], keys.parity ^ 1);
    if (lane == 0) ArriveAndExpect(&shared.keys_full[keys.stage], kTileBytes);
    __syncwarp();
    loader.Keys(tile, keys.stage);
    keys.Advance();
  };
  const auto load_values = [&](int tile) {
    Wait(&shared.values_empty[values.stage], values.parity ^ 1);
    if (lane == 0) ArriveAndExpect(&shared.values_full[values.stage], kTileBytes);
    __syncwarp();
    loader.Values(tile, values.stage);
    values.Advance();
  };
  while (parts.Next(&part)) {
    loader.Enter(part);
    load_keys(part.begin);  // before the queries, whose place is free later
    Wait(&shared.queries_empty, parity ^ 1);
    parity ^= 1;
    if (lane == 0) ArriveAndExpect(&shared.queries_full, sizeof(shared.queries));
    __syncwarp();
    loader.Queries();
#pragma unroll 1
    for (int tile = part.begin; tile < part.end; ++tile) {
      if (tile + 1 < part.end) load_keys(tile + 1);
      load_values(tile);
    }
  }
}

}  // namespace glimpse::kernels

#endif  // GLIMPSE_ENGINE_KERNELS_DEVICE_FLASH_PRODUCER_CUH_
