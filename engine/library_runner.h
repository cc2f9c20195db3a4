// Runs steps through libtorch, on any device and type: on a CPU, and on a GPU for which the project
// has no kernels, or where they are off (for the language model: vision_operators.h chooses for
// itself). A step is over when Launch returns. Serving thread alone.
#ifndef GLIMPSE_ENGINE_LIBRARY_RUNNER_H_
#define GLIMPSE_ENGINE_LIBRARY_RUNNER_H_

#include <optional>
#include <vector>

#include "engine/config.h"
#include "engine/kv_cache.h"
#include "engine/language_model.h"
#include "engine/runner.h"
#include "engine/sampler.h"
#include "engine/schedule/model_limits.h"
#include "engine/step_buffers.h"
#include "engine/vision_tower.h"
#include "engine/weights.h"

namespace glimpse {

class LibraryRunner : public Runner {
 public:
  LibraryRunner(const ModelConfig& config, const ModelLimits& limits, Weights weights);

  absl::Status Launch(const StepPlan& plan) override;
  absl::StatusOr<StepOutput> Finish() override;
  int depth() const override { return 1; }
  std::vector<float> Logits(const StepPlan& plan) override;

 private:
  void StartSlots(const StepPlan& plan);
  void Encode(const StepRow& row);
  at::Tensor Forward(const StepPlan& plan, bool all_logits);  // [samples, vocabulary] float32
  absl::StatusOr<StepOutput> Sample(const StepPlan& plan);

  const Weights weights_;
  const LanguageModel language_;
  const int image_rows_;
  std::optional<VisionTower> vision_;
  KvCache cache_;
  StepBuffers buffers_;
  Sampler sampler_;
  std::vector<at::Tensor> pictures_;  // by slot, until the prompt has taken their last row
  std::optional<StepOutput> output_;  // of the step that was launched and is not finished
};

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_LIBRARY_RUNNER_H_
