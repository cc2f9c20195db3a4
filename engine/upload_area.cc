#include "engine/upload_area.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "engine/kernels/cuda_error.h"

namespace glimpse {

void UploadArea::Allocate(at::Device device) {
  for (at::Tensor& copy : host_) {
    copy = at::empty({size_}, at::TensorOptions().dtype(at::kByte).pinned_memory(true));
    copy.zero_();
  }
  device_ = at::zeros({size_}, at::TensorOptions().dtype(at::kByte).device(device));
}

void UploadArea::Upload(cudaStream_t stream, int64_t bytes) {
  CheckCuda(cudaMemcpyAsync(device_.data_ptr(), host_[current_].data_ptr(),
                            static_cast<size_t>(bytes), cudaMemcpyHostToDevice, stream),
            "upload of a step's inputs");
}

}  // namespace glimpse
