// Runs vision plans: pictures through the tower, a slice of its layers at a time (step_plan.h says
// in which order slices come), and what stands between two slices.
//
// The pictures of a group run as one batch from the first slice to the last, also when some are in
// no later slice, so a picture's rows are the same bits wherever the cuts are and whoever leaves.
// Serving thread alone.
#ifndef GLIMPSE_ENGINE_PICTURE_ENCODER_H_
#define GLIMPSE_ENGINE_PICTURE_ENCODER_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "engine/config.h"
#include "engine/schedule/step_plan.h"
#include "engine/vision_tower.h"
#include "engine/weights.h"

namespace glimpse {

class PictureEncoder {
 public:
  // Takes the memory of `max_pictures` pictures between two slices.
  PictureEncoder(const VisionConfig& config, const VisionWeights& weights, bool own_kernels,
                 int max_pictures);

  // The plan's slice, on the current stream; waits for nothing. A plan from layer 0 on begins
  // anew, whatever came before, with `pixels` [rows, image_size, image_size, 3] uint8 on the
  // weights' device; in other plans they are not looked at. Behind the last layer each row's
  // picture is in (*pictures)[slot]: [Rows(), hidden], with memory of its own.
  void Run(const StepPlan& plan, const at::Tensor& pixels, std::vector<at::Tensor>* pictures);

 private:
  void Begin(const StepPlan& plan, const at::Tensor& pixels);
  at::Tensor Group() const;                    // [sequences, 1 + patches, width]
  at::Tensor StateOf(int64_t sequence) const;  // [1, 1 + patches, width]

  const VisionConfig config_;
  const VisionTower tower_;
  const at::Tensor states_;          // [max_pictures, 1 + patches, width]
  std::vector<int64_t> sequences_;   // whose they are, from the first on
  int next_layer_ = 0;               // 0: no slice of these sequences may follow
  const at::TensorOptions tensors_;  // the model's type and device
  const int64_t hidden_;
};

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_PICTURE_ENCODER_H_
