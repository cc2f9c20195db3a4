#include "engine/kernels/tensor_map.h"

#include <cuda_runtime_api.h>

#include "engine/kernels/cuda_error.h"

namespace glimpse::kernels {
namespace {

using Encode = decltype(&cuTensorMapEncodeTiled);

// From the driver by name, so that nothing links with libcuda and a machine without it can start.
Encode LoadEncode() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found;
  CheckCuda(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000,
                                             cudaEnableDefault, &found),
            "cuTensorMapEncodeTiled");
  return reinterpret_cast<Encode>(function);
}

}  // namespace

CUtensorMap MakeTensorMap(const void* data, const TensorShape& shape) {
  static const Encode encode = LoadEncode();
  const std::vector<uint32_t> steps(shape.sizes.size(), 1);
  const auto swizzle = shape.box[0] == 32 ? CU_TENSOR_MAP_SWIZZLE_64B : CU_TENSOR_MAP_SWIZZLE_128B;
  CUtensorMap map;
  const CUresult result =
      encode(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, static_cast<uint32_t>(shape.sizes.size()),
             const_cast<void*>(data), shape.sizes.data(), shape.strides_bytes.data(),
             shape.box.data(), steps.data(), CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) throw CudaError(cudaErrorInvalidValue, "cuTensorMapEncodeTiled");
  return map;
}

}  // namespace glimpse::kernels
