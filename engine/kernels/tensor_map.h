// Descriptions of tensors in device memory for the copy engine (CUtensorMap).
#ifndef GLIMPSE_ENGINE_KERNELS_TENSOR_MAP_H_
#define GLIMPSE_ENGINE_KERNELS_TENSOR_MAP_H_

#include <cuda.h>

#include <cstdint>
#include <vector>

namespace glimpse::kernels {

// Of bfloat16, innermost dimension first.
struct TensorShape {
  std::vector<uint64_t> sizes;          // elements
  std::vector<uint64_t> strides_bytes;  // of all dimensions but the innermost; multiples of 16
  std::vector<uint32_t> box;            // elements that one copy takes, zeros beyond the edges
};

// Boxes lie in shared memory with the 128-byte swizzle that wgmma and ldmatrix read without bank
// conflicts, so the innermost side of a box is at most 64 elements; boxes of 32 elements with the
// 64-byte swizzle. Throws CudaError.
CUtensorMap MakeTensorMap(const void* data, const TensorShape& shape);

}  // namespace glimpse::kernels

#endif  // GLIMPSE_ENGINE_KERNELS_TENSOR_MAP_H_
