// Pictures on their way into prompts: encoded by the vision tower, kept by slot until the prompt
// has taken their last row. One whose sequence ends or is preempted before that is kept until the
// slot's next sequence starts.
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
#include "engine/picture_encoder.h"
#include "engine/schedule/step_plan.h"
#include "engine/weights.h"

namespace glimpse {

class PictureStore {
 public:
  PictureStore(const VisionConfig& config, const VisionWeights& weights, int num_slots,
               int max_pictures);
  ~PictureStore();
  PictureStore(const PictureStore&) = delete;
  PictureStore& operator=(const PictureStore&) = delete;

  // Pictures of no colour, as many as there can be in a step, for its memory.
  void WarmUp(cudaStream_t stream);

  // Runs a vision plan of at most max_pictures; `stream` is libtorch's current one.
  void Encode(const StepPlan& plan, cudaStream_t stream);

  // By slot, [Rows(), hidden]; undefined where there is none.
  const std::vector<at::Tensor>& rows() const { return rows_; }

  void Drop(int slot) { rows_[slot].reset(); }
  // Of a prefill plan: those whose last row it takes.
  void DropUsed(const StepPlan& plan);

 private:
  // The plan's pixels on the device, behind which `stream` goes on.
  at::Tensor Upload(const StepPlan& plan, cudaStream_t stream);

  struct Buffer {
    at::Tensor host, device;  // [max_pictures, size, size, 3] uint8, pinned the first
    cudaEvent_t copied = nullptr;
  };

  const VisionConfig config_;
  PictureEncoder encoder_;
  const c10::cuda::CUDAStream copies_;
  // One for each step in flight: the next group's pixels may come while the last one's are read.
  std::vector<Buffer> buffers_;
  size_t current_ = 0;
  std::vector<at::Tensor> rows_;
};

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_PICTURE_STORE_H_
