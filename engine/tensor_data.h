// A tensor's memory as kernels take it: T is what the tensor holds, and it is contiguous.
#ifndef GLIMPSE_ENGINE_TENSOR_DATA_H_
#define GLIMPSE_ENGINE_TENSOR_DATA_H_

#include <ATen/core/Tensor.h>

namespace glimpse {

template <typename T>
T* Data(const at::Tensor& tensor) {
  return static_cast<T*>(tensor.data_ptr());
}

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_TENSOR_DATA_H_
