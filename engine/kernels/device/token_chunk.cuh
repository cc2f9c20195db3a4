// A block's share of a row of logits in shared memory.
#ifndef GLIMPSE_ENGINE_KERNELS_DEVICE_TOKEN_CHUNK_CUH_
#define GLIMPSE_ENGINE_KERNELS_DEVICE_TOKEN_CHUNK_CUH_

#include <cuda_runtime.h>

namespace glimpse::kernels {

constexpr int kTokenCluster = 8;    // blocks of a row
constexpr int kTokenThreads = 512;  // of a block

// A thread works on `kBatch` ids at a time, four and four side by side, and meets the same ones in
// every pass, so its own changes need no barrier.
struct TokenChunk {
  static constexpr int kBatch = 8;
  static constexpr int kBatchIds = kBatch * kTokenThreads;  // of the block

  float* values;  // [Room(count)], 16-byte aligned: scores, then distances; no token behind `count`
  int count;
  int first_id;

  __host__ __device__ static constexpr int Room(int count) {
    return (count + kBatchIds - 1) / kBatchIds * kBatchIds;
  }
  // Of this thread's j-th value of the batch that begins at `base`.
  __device__ static int IndexOf(int base, int j) {
    return base + j / 4 * (kBatchIds / 2) + 4 * static_cast<int>(threadIdx.x) + j % 4;
  }
  __device__ void Load(int base, float (&x)[kBatch]) const {
#pragma unroll
    for (int j = 0; j < kBatch; j += 4) {
      const float4 four = *reinterpret_cast<const float4*>(values + IndexOf(base, j));
      x[j] = four.x, x[j + 1] = four.y, x[j + 2] = four.z, x[j + 3] = four.w;
    }
  }
  __device__ void Store(int base, const float (&x)[kBatch]) const {
#pragma unroll
    for (int j = 0; j < kBatch; j += 4) {
      *reinterpret_cast<float4*>(values + IndexOf(base, j)) =
          make_float4(x[j], x[j + 1], x[j + 2], x[j + 3]);
    }
  }
};

}  // namespace glimpse::kernels

#endif  // GLIMPSE_ENGINE_KERNELS_DEVICE_TOKEN_CHUNK_CUH_
