#include "engine/picture_encoder.h"

#include <ATen/ops/empty.h>

#include <algorithm>

#include "preprocess/check.h"

namespace glimpse {

PictureEncoder::PictureEncoder(const VisionConfig& config, const VisionWeights& weights,
                               bool own_kernels, int max_pictures)
    : config_(config),
      tower_(config, weights, own_kernels),
      states_(at::empty({max_pictures, 1 + config.Patches(), config.hidden_size},
                        weights.positions.options())),
      tensors_(weights.positions.options()),
      hidden_(weights.linear_proj.size(0)) {}

void PictureEncoder::Run(const StepPlan& plan, const at::Tensor& pixels,
                         std::vector<at::Tensor>* pictures) {
  if (plan.first_layer == 0) Begin(plan, pixels);
  GLIMPSE_CHECK(plan.first_layer == next_layer_ && plan.end_layer > plan.first_layer &&
                    plan.end_layer <= config_.num_layers,
                "a slice that is not the next one");
  next_layer_ = 0;  // a slice that fails half-way has none behind it
  tower_.Layers(plan.first_layer, plan.end_layer, Group());
  if (plan.end_layer < config_.num_layers) {
    next_layer_ = plan.end_layer;
    return;
  }
  for (const StepRow& row : plan.rows) {
    const at::Tensor picture = at::empty({config_.Rows(), hidden_}, tensors_);
    tower_.Finish(StateOf(row.sequence), picture.unsqueeze(0));
    (*pictures)[row.slot] = picture;
  }
}

void PictureEncoder::Begin(const StepPlan& plan, const at::Tensor& pixels) {
  const int64_t count = static_cast<int64_t>(plan.rows.size());
  GLIMPSE_CHECK(count <= states_.size(0), "more pictures than a vision step takes");
  sequences_.clear();
  next_layer_ = 0;
  for (const StepRow& row : plan.rows) sequences_.push_back(row.sequence);
  tower_.Embed(pixels.narrow(0, 0, count), Group());
}

at::Tensor PictureEncoder::Group() const {
  return states_.narrow(0, 0, static_cast<int64_t>(sequences_.size()));
}

at::Tensor PictureEncoder::StateOf(int64_t sequence) const {
  const auto found = std::find(sequences_.begin(), sequences_.end(), sequence);
  GLIMPSE_CHECK(found != sequences_.end(), "a later slice of a picture that had no first");
  return states_.narrow(0, found - sequences_.begin(), 1);
}

}  // namespace glimpse
