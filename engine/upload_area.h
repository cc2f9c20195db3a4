// Arrays that the host fills for each step and the device reads at fixed addresses.
//
// The host side is pinned and exists once for every step that may be in flight, so that filling the
// next step's touches nothing that is still being copied. Declare all arrays first; then for each
// step: Turn, fill, Upload.
#ifndef GLIMPSE_ENGINE_UPLOAD_AREA_H_
#define GLIMPSE_ENGINE_UPLOAD_AREA_H_

#include <ATen/core/Tensor.h>
#include <cuda_runtime_api.h>

#include <cstdint>
#include <vector>

namespace glimpse {

class UploadArea {
 public:
  template <typename T>
  struct Array {
    int64_t offset = 0;  // bytes
    int64_t count = 0;
  };

  // `copies` >= steps in flight.
  explicit UploadArea(int copies) : host_(static_cast<size_t>(copies)) {}

  template <typename T>
  Array<T> Add(int64_t count) {
    const Array<T> array = {size_, count};
    size_ += (count * static_cast<int64_t>(sizeof(T)) + 255) / 256 * 256;
    return array;
  }

  // Takes the memory; no Add after it.
  void Allocate(at::Device device);

  // To the host copy that was used longest ago: the step that used it must be finished.
  void Turn() { current_ = (current_ + 1) % host_.size(); }

  template <typename T>
  T* host(Array<T> array) {
    return reinterpret_cast<T*>(static_cast<uint8_t*>(host_[current_].data_ptr()) + array.offset);
  }
  template <typename T>
  T* device(Array<T> array) const {
    return reinterpret_cast<T*>(static_cast<uint8_t*>(device_.data_ptr()) + array.offset);
  }

  // The first `bytes` of the area; waits for nothing.
  void Upload(cudaStream_t stream, int64_t bytes);

 private:
  std::vector<at::Tensor> host_;
  at::Tensor device_;
  int64_t size_ = 0;
  size_t current_ = 0;
};

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_UPLOAD_AREA_H_
