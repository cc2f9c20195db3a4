// Blocks of a cluster: their barrier, and stores into each other's shared memory.
#ifndef GLIMPSE_ENGINE_KERNELS_DEVICE_CLUSTER_CUH_
#define GLIMPSE_ENGINE_KERNELS_DEVICE_CLUSTER_CUH_

#include "engine/kernels/device/mbarrier.cuh"

namespace glimpse::kernels {

// The cluster's barrier in two halves; threads that have exited count as arrived. This one orders
// no memory but the barriers that were set up before a FenceBarrierInit.
__device__ __forceinline__ void ClusterArrive() {
  asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
}

__device__ __forceinline__ void ClusterWait() {
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}

// The address that `pointer`'s variable has in the block of this rank in the cluster.
__device__ __forceinline__ uint32_t AddressInBlock(const void* pointer, int rank) {
  uint32_t address;
  asm("mapa.shared::cluster.u32 %0, %1, %2;"
      : "=r"(address)
      : "r"(SharedAddress(pointer)), "r"(rank));
  return address;
}

// Arrives at the barrier that the block of this rank has where this one has `barrier`.
__device__ __forceinline__ void ArriveInBlock(uint64_t* barrier, int rank) {
  asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(AddressInBlock(barrier, rank))
               : "memory");
}

// Stores the pair at an AddressInBlock, 8-byte aligned; its bytes count on `barrier`, the address
// of one in the same block. Illegal in a cluster of one block.
__device__ __forceinline__ void StoreInBlock(uint32_t to, uint32_t barrier, float2 pair) {
  asm volatile(
      "st.async.shared::cluster.mbarrier::complete_tx::bytes.v2.f32 [%0], {%1, %2}, [%3];" ::"r"(
          to),
      "f"(pair.x), "f"(pair.y), "r"(barrier)
      : "memory");
}

// Wait (mbarrier.cuh) for what other blocks of the cluster do.
__device__ __forceinline__ void WaitForCluster(uint64_t* barrier, uint32_t parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again;\n"
      "}\n" ::"r"(SharedAddress(barrier)),
      "r"(parity)
      : "memory");
}

}  // namespace glimpse::kernels

#endif  // GLIMPSE_ENGINE_KERNELS_DEVICE_CLUSTER_CUH_
