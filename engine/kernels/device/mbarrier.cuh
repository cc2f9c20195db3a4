// Barriers in shared memory that count arrivals and bytes (PTX: mbarrier).
#ifndef GLIMPSE_ENGINE_KERNELS_DEVICE_MBARRIER_CUH_
#define GLIMPSE_ENGINE_KERNELS_DEVICE_MBARRIER_CUH_

#include <cuda_runtime.h>

#include <cstdint>

namespace glimpse::kernels {

__device__ __forceinline__ uint32_t SharedAddress(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// By one thread; then FenceBarrierInit, and a barrier of the block, before anybody uses it.
__device__ __forceinline__ void InitBarrier(uint64_t* barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(SharedAddress(barrier)),
               "r"(arrivals));
}

__device__ __forceinline__ void FenceBarrierInit() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ __forceinline__ void Arrive(uint64_t* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(SharedAddress(barrier)) : "memory");
}

// Arrives, and lets the phase end only when `bytes` have been copied as well.
__device__ __forceinline__ void ArriveAndExpect(uint64_t* barrier, int bytes) {
  asm volatile(
      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(SharedAddress(barrier)),
      "r"(bytes)
      : "memory");
}

// Returns when the phase of this parity (0 first, then 1, 0, ...) has ended. The caller must not be
// a whole phase behind or ahead: parities repeat.
__device__ __forceinline__ void Wait(uint64_t* barrier, uint32_t parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again;\n"
      "}\n" ::"r"(SharedAddress(barrier)),
      "r"(parity)
      : "memory");
}

// Walks the stages of a ring with such barriers; round & 1 is the parity of the phase that a
// stage's barrier has to end.
struct Cursor {
  int stage = 0;
  uint32_t round = 0;

  __device__ void Advance(int stages) {
    if (++stage == stages) stage = 0, ++round;
  }
};

}  // namespace glimpse::kernels

#endif  // GLIMPSE_ENGINE_KERNELS_DEVICE_MBARRIER_CUH_
