// Pictures on their way into prompts: encoded by the vision tower, kept by slot until the prompt
// has taken their last row.
//
// Pixels come through pinned memory on a stream of their own, so that their copy runs beside the
// step before. Serving thread alone.
#ifndef GLIMPSE_ENGINE_PICTURE_STORE_H_
#define GLIMPSE_ENGINE_PICTURE_STORE_H_

#include <ATen/core/Tensor.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

#include <vector>

#include "engine/config.h"
#include "engine/schedule/step_plan.h"
#include "engine/vision_tower.h"
#include "engine/weights.h"

namespace glimpse {

class PictureStore {
 public:
  PictureStore(const VisionConfig& config, const VisionWeights& weights, int num_slots,
               int max_pictures);
  ~PictureStore();
  PictureStore(const PictureStore&) = delete;
  PictureStore& operator=(const PictureStore&) = delete;

  // A step of the most pictures there can be, of no colour, for its memory.
  void WarmUp(cudaStream_t stream);

  // The pictures of a vision plan, at most max_pictures; `stream` is libtorch's current one.
  void Encode(const StepPlan& plan, cudaStream_t stream);

  // By slot, [Rows(), hidden]; undefined where there is none.
  const std::vector<at::Tensor>& rows() const { return rows_; }

  void Drop(int slot) { rows_[slot].reset(); }
  // Of a prefill plan: those whose last row it takes.
  void DropUsed(const StepPlan& plan);

 private:
  struct Buffer {
    at::Tensor host, device;  // [max_pictures, size, size, 3] uint8, pinned the first
    cudaEvent_t copied = nullptr;
  };

  const VisionConfig config_;
  const VisionTower tower_;
  const at::TensorOptions tensors_;
  const int64_t hidden_;
  const c10::cuda::CUDAStream copies_;
  std::vector<Buffer> buffers_;  // one for each step in flight
  size_t current_ = 0;
  std::vector<at::Tensor> rows_;
};

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_PICTURE_STORE_H_
