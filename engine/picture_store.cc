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
      encoder_(config, weights, /*own_kernels=*/true, max_pictures),
      copies_(c10::cuda::getStreamFromPool(/*isHighPriority=*/false)),
      buffers_(kStepsInFlight),
      rows_(static_cast<size_t>(num_slots)) {
  const std::vector<int64_t> shape = {max_pictures, config.image_size, config.image_size, 3};
  const at::TensorOptions bytes = at::TensorOptions().dtype(at::kByte);
  for (Buffer& buffer : buffers_) {
    buffer.host = at::empty(shape, bytes.pinned_memory(true));
    buffer.device = at::zeros(shape, bytes.device(weights.positions.device()));
    CheckCuda(cudaEventCreateWithFlags(&buffer.copied, cudaEventDisableTiming), "event");
  }
}

PictureStore::~PictureStore() {
  for (Buffer& buffer : buffers_) cudaEventDestroy(buffer.copied);
}

void PictureStore::WarmUp(cudaStream_t stream) {
  const at::Tensor& pixels = buffers_[0].device;
  StepPlan plan;
  plan.end_layer = config_.num_layers;
  plan.rows.resize(std::min(static_cast<size_t>(pixels.size(0)), rows_.size()));
  for (size_t i = 0; i < plan.rows.size(); ++i) {
    plan.rows[i].sequence = plan.rows[i].slot = static_cast<int>(i);
  }
  encoder_.Run(plan, pixels, &rows_);
  CheckCuda(cudaStreamSynchronize(stream), "vision warm-up");
  for (at::Tensor& picture : rows_) picture.reset();
}

void PictureStore::Encode(const StepPlan& plan, cudaStream_t stream) {
  encoder_.Run(plan, plan.first_layer == 0 ? Upload(plan, stream) : at::Tensor(), &rows_);
}

at::Tensor PictureStore::Upload(const StepPlan& plan, cudaStream_t stream) {
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
  return buffer.device;
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
