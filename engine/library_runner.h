// Runs steps through libtorch, on any device and type: on a CPU, and on a GPU for which the project
// has no kernels for the language model, or where they are off. A step is over when Launch returns.
// Serving thread alone.
#ifndef GLIMPSE_ENGINE_LIBRARY_RUNNER_H_
#define GLIMPSE_ENGINE_LIBRARY_RUNNER_H_

#include <optional>
#include <vector>

#include "engine/config.h"
#include "engine/kv_cache.h"
#include "engine/language_model.h"
#include "engine/picture_encoder.h"
#include "engine/runner.h"
#include "engine/sampler.h"
#include "engine/schedule/model_limits.h"
#include "engine/step_buffers.h"
#include "engine/weights.h"

namespace glimpse {

class LibraryRunner : public Runner {
 public:
  // `vision_kernels`: the tower's own kernels, which may fit where the language model's don't.
  // max_vision_rows: pictures of a plan, at most.
  LibraryRunner(const ModelConfig& config, const ModelLimits& limits, Weights weights,
                bool vision_kernels, int max_vision_rows);

  absl::Status Launch(const StepPlan& plan) override;
  absl::StatusOr<StepOutput> Finish() override;
  int depth() const override { return 1; }
  std::vector<float> Logits(const StepPlan& plan) override;

 private:
  void StartSlots(const StepPlan& plan);
  at::Tensor Pixels(const StepPlan& plan) const;
  at::Tensor Forward(const StepPlan& plan, bool all_logits);  // [samples, vocabulary] float32
  absl::StatusOr<StepOutput> Sample(const StepPlan& plan);

  const Weights weights_;
  const LanguageModel language_;
  std::optional<PictureEncoder> vision_;  // empty: a text-only checkpoint
  KvCache cache_;
  StepBuffers buffers_;
  Sampler sampler_;
  std::vector<at::Tensor> pictures_;  // by slot, until the prompt has taken their last row
  std::optional<StepOutput> output_;  // of the step that was launched and is not finished
};

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_LIBRARY_RUNNER_H_
