// Copies of boxes of a tensor into shared memory and back, by the copy engine (PTX:
// cp.async.bulk.tensor).
#ifndef GLIMPSE_ENGINE_KERNELS_DEVICE_TMA_CUH_
#define GLIMPSE_ENGINE_KERNELS_DEVICE_TMA_CUH_

#include <cuda.h>

#include "engine/kernels/device/mbarrier.cuh"

namespace glimpse::kernels {

// Cache policies of the L2 (the encodings of createpolicy.fractional, as CUTLASS' TMA::CacheHint).
constexpr uint64_t kEvictFirst = 0x12F0000000000000;
constexpr uint64_t kEvictLast = 0x14F0000000000000;

// Fetches the description itself ahead.
__device__ __forceinline__ void PrefetchMap(const CUtensorMap* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

// The box at (x, y): x counts elements of the innermost dimension. Its bytes count on `barrier`.
__device__ __forceinline__ void CopyBox(void* to, const CUtensorMap* map, uint64_t* barrier,
                                        uint64_t policy, int x, int y) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint"
      " [%0], [%1, {%4, %5}], [%2], %3;" ::"r"(SharedAddress(to)),
      "l"(map), "r"(SharedAddress(barrier)), "l"(policy), "r"(x), "r"(y)
      : "memory");
}

// The same of three- and four-dimensional tensors.
__device__ __forceinline__ void CopyBox(void* to, const CUtensorMap* map, uint64_t* barrier,
                                        uint64_t policy, int x, int y, int z) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint"
      " [%0], [%1, {%4, %5, %6}], [%2], %3;" ::"r"(SharedAddress(to)),
      "l"(map), "r"(SharedAddress(barrier)), "l"(policy), "r"(x), "r"(y), "r"(z)
      : "memory");
}
__device__ __forceinline__ void CopyBox(void* to, const CUtensorMap* map, uint64_t* barrier,
                                        uint64_t policy, int x, int y, int z, int w) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint"
      " [%0], [%1, {%4, %5, %6, %7}], [%2], %3;" ::"r"(SharedAddress(to)),
      "l"(map), "r"(SharedAddress(barrier)), "l"(policy), "r"(x), "r"(y), "r"(z), "r"(w)
      : "memory");
}

// The box at (x, 0, 0, group) of a four-dimensional tensor.
__device__ __forceinline__ void CopyBoxOfGroup(void* to, const CUtensorMap* map, uint64_t* barrier,
                                               uint64_t policy, int x, int group) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint"
      " [%0], [%1, {%4, %6, %6, %5}], [%2], %3;" ::"r"(SharedAddress(to)),
      "l"(map), "r"(SharedAddress(barrier)), "l"(policy), "r"(x), "r"(group), "r"(0)
      : "memory");
}

// The box at (x, y) to the same place in each block of the cluster whose bit in `blocks` is set;
// its bytes count on the `barrier` of each.
__device__ __forceinline__ void CopyBoxToBlocks(void* to, const CUtensorMap* map, uint64_t* barrier,
                                                uint64_t policy, uint16_t blocks, int x, int y) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
      ".multicast::cluster.L2::cache_hint [%0], [%1, {%4, %5}], [%2], %6, %3;" ::"r"(
          SharedAddress(to)),
      "l"(map), "r"(SharedAddress(barrier)), "l"(policy), "r"(x), "r"(y), "h"(blocks)
      : "memory");
}

// Before a StoreBox, by whoever wrote to shared memory what it is to store.
__device__ __forceinline__ void FenceForStore() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// A box to (x, y), less what is beyond the tensor's edges.
__device__ __forceinline__ void StoreBox(const CUtensorMap* map, const void* from, int x, int y) {
  asm volatile(
      "cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%2, %3}], [%1];\n"
      "cp.async.bulk.commit_group;" ::"l"(map),
      "r"(SharedAddress(from)), "r"(x), "r"(y)
      : "memory");
}

// Until the boxes that this thread stores have been read from shared memory.
__device__ __forceinline__ void WaitForStoresToRead() {
  asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
}

}  // namespace glimpse::kernels

#endif  // GLIMPSE_ENGINE_KERNELS_DEVICE_TMA_CUH_
