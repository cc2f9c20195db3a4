// seen[id] = id is in prompt, a bit an id:  prompt [count] int32, seen [SeenWords(vocabulary)]
//
// One block: a slot's bits are some 19 KB, and a prompt is short beside that. Ids outside the
// vocabulary (a picture's rows) are left out.
//
// The wall: a launch and two trips to the L2 cache; what is moved takes less. Not timed alone.
#include "engine/kernels/cuda_error.h"
#include "engine/kernels/kernels.h"
#include "preprocess/check.h"

namespace glimpse::kernels {
namespace {

constexpr int kThreads = 1024;

__global__ void __launch_bounds__(kThreads) StartSlotKernel(StartSlot args) {
  for (int i = threadIdx.x; i < SeenWords(args.vocabulary); i += kThreads) args.seen[i] = 0;
  __syncthreads();  // all is cleared before the first bit is set
  for (int i = threadIdx.x; i < args.count; i += kThreads) {
    const int32_t id = args.prompt[i];
    if (id >= 0 && id < args.vocabulary) atomicOr(&args.seen[id / 32], 1u << id % 32);
  }
}

}  // namespace

void Launch(const StartSlot& args, cudaStream_t stream) {
  GLIMPSE_CHECK(args.count >= 0 && args.vocabulary >= 1, "StartSlot: sizes");
  StartSlotKernel<<<1, kThreads, 0, stream>>>(args);
  CheckCuda(cudaGetLastError(), "StartSlot");
}

}  // namespace glimpse::kernels
