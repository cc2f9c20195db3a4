// Programmatic dependent launch: a kernel starts while the one before it still runs. Launched so by
// LaunchInChain (launch.h).
#ifndef GLIMPSE_ENGINE_KERNELS_DEVICE_PDL_CUH_
#define GLIMPSE_ENGINE_KERNELS_DEVICE_PDL_CUH_

#include <cuda_runtime.h>

namespace glimpse::kernels {

// Nothing that the kernel before writes may be read, and nothing that it reads be written, before
// this returns; then that kernel is complete, and so are all before it.
__device__ __forceinline__ void WaitForKernelBefore() {
  asm volatile("griddepcontrol.wait;" ::: "memory");
}

// The next kernel may take the room that this one leaves, as soon as each block has said so.
__device__ __forceinline__ void LetNextKernelStart() {
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}

}  // namespace glimpse::kernels

#endif  // GLIMPSE_ENGINE_KERNELS_DEVICE_PDL_CUH_
