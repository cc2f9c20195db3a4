// Programmatic dependent launch: a kernel starts while the one before it still runs.
#ifndef GLIMPSE_ENGINE_KERNELS_DEVICE_PDL_CUH_
#define GLIMPSE_ENGINE_KERNELS_DEVICE_PDL_CUH_

#include <cuda_runtime.h>

#include "engine/kernels/cuda_error.h"

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

struct LaunchShape {
  dim3 grid, block;
  size_t shared_bytes = 0;
  int cluster = 1;
};

// Launches a kernel that calls WaitForKernelBefore. Raises the kernel's limit of shared memory
// itself.
template <typename... Parameters, typename... Arguments>
void LaunchInChain(void (*kernel)(Parameters...), const LaunchShape& shape, cudaStream_t stream,
                   const Arguments&... arguments) {
  cudaLaunchConfig_t config = {};
  config.gridDim = shape.grid;
  config.blockDim = shape.block;
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = stream;
  cudaLaunchAttribute attributes[2] = {};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = 1;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim = {static_cast<unsigned>(shape.cluster), 1, 1};
  config.attrs = attributes;
  config.numAttrs = shape.cluster > 1 ? 2 : 1;
  CheckCuda(cudaLaunchKernelEx(&config, kernel, arguments...), "cudaLaunchKernelEx");
}

}  // namespace glimpse::kernels

#endif  // GLIMPSE_ENGINE_KERNELS_DEVICE_PDL_CUH_
