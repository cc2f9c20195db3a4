#include "engine/picture_store.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "engine/gpu_inputs.h"
#include "engine/kernels/cuda_error.h"
#include "preprocess/check.h"

namespace glimpse {

PictureStore::PictureStore(const VisionConfig& config, const VisionWeights& weights, int num_slots,
                           int max_pictures)
    : config_(config),
      tower_(config, weights),
      tensors_(weights.positions.options()),
      hidden_(weights.linear_proj.size(0)),
      copies_(c10::cuda::getStreamFromPool(/*isHighPriority=*/false)),
      buffers_(kStepsInFlight),
      rows_(static_cast<size_t>(num_slots)) {
  const std::vector<int64_t> shape = {max_pictures, config.image_size, config.image_size, 3};
  for (Buffer& buffer : buffers_) {
    buffer.host = at::empty(shape, at::TensorOptions().dtype(at::kByte).pinned_memory(true));
    buffer.device = at::zeros(shape, tensors_.dtype(at::kByte));
    CheckCuda(cudaEventCreateWithFlags(&buffer.copied, cudaEventDisableTiming), "event");
  }
}

PictureStore::~PictureStore() {
  for (Buffer& buffer : buffers_) cudaEventDestroy(buffer.copied);
}

void PictureStore::WarmUp(cudaStream_t stream) {
  const at::Tensor& pixels = buffers_[0].device;
  tower_.Encode(pixels, at::empty({pixels.size(0), config_.Rows(), hidden_}, tensors_));
  CheckCuda(cudaStreamSynchronize(stream), "vision warm-up");
}

void PictureStore::Encode(const StepPlan& plan, cudaStream_t stream) {
  current_ = (current_ + 1) % buffers_.size();
  const Buffer& buffer = buffers_[current_];
  const int64_t count = static_cast<int64_t>(plan.rows.size());
  GLIMPSE_CHECK(count <= buffer.host.size(0), "more pictures than a vision step takes");
  const size_t bytes = static_cast<size_t>(buffer.host.stride(0));
  for (int64_t i = 0; i < count; ++i) {
    const std::vector<uint8_t>& pixels = plan.rows[i].image->pixels;
    GLIMPSE_CHECK(pixels.size() == bytes, "a picture of another size than the model's");
    std::copy(pixels.begin(), pixels.end(), buffer.host[i].data_ptr<uint8_t>());
  }
  CheckCuda(cudaMemcpyAsync(buffer.device.data_ptr(), buffer.host.const_data_ptr(),
                            static_cast<size_t>(count) * bytes, cudaMemcpyHostToDevice, copies_),
            "upload of pictures");
  CheckCuda(cudaEventRecord(buffer.copied, copies_), "event");
  CheckCuda(cudaStreamWaitEvent(stream, buffer.copied), "event");
  const at::Tensor out = at::empty({count, config_.Rows(), hidden_}, tensors_);
  tower_.Encode(buffer.device.narrow(0, 0, count), out);
  for (int64_t i = 0; i < count; ++i) rows_[plan.rows[i].slot] = out[i];
}

void PictureStore::DropUsed(const StepPlan& plan) {
  const auto is_last = [&](int32_t token) {
    return IsImageRow(token) && ImageRowIndex(token) + 1 == config_.Rows();
  };
  for (const StepRow& row : plan.rows) {
    if (row.slot >= 0 && std::any_of(row.tokens.begin(), row.tokens.end(), is_last)) {
      Drop(row.slot);
    }
  }
}

}  // namespace glimpse
