// What the launchers share on the host's side. For .cu files alone; all throw CudaError.
#ifndef GLIMPSE_ENGINE_KERNELS_LAUNCH_H_
#define GLIMPSE_ENGINE_KERNELS_LAUNCH_H_

#include <cuda_runtime.h>

#include <cstddef>

#include "engine/kernels/cuda_error.h"

namespace glimpse::kernels {

// Of the device that is current at the first call: a process works on one.
inline int NumMultiprocessors() {
  static const int count = [] {
    int device = 0, multiprocessors = 0;
    CheckCuda(cudaGetDevice(&device), "cudaGetDevice");
    CheckCuda(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device),
              "cudaDeviceGetAttribute");
    return multiprocessors;
  }();
  return count;
}

// Before the first launch of a kernel with more than 48 KB of dynamic shared memory.
template <typename Kernel>
void AllowSharedMemory(Kernel* kernel, size_t bytes) {
  CheckCuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 static_cast<int>(bytes)),
            "cudaFuncSetAttribute");
}

struct LaunchShape {
  dim3 grid, block;
  size_t shared_bytes = 0;  // dynamic; see AllowSharedMemory
  int cluster = 1;          // blocks along x that run together
};

// Launches a kernel that calls WaitForKernelBefore (device/pdl.cuh): it may start while the kernel
// before it in the stream still runs.
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

#endif  // GLIMPSE_ENGINE_KERNELS_LAUNCH_H_
