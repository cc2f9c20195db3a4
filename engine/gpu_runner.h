// Runs steps on the project's kernels: decode and prefill from captured graphs, eagerly where there
// is none; pictures through the vision tower. Up to two steps are in flight, so that the next one
// is on the device's queue before the host reads the last one's tokens.
//
// Everything runs on one stream of its own, in the order of Launch; pictures' pixels come by a
// second one. After construction nothing allocates device memory but a picture's rows (through
// libtorch's caching allocator) and a capture, and nothing waits for the device but Finish and a
// capture. Bfloat16 on Hopper. Serving thread alone.
#ifndef GLIMPSE_ENGINE_GPU_RUNNER_H_
#define GLIMPSE_ENGINE_GPU_RUNNER_H_

#include <memory>
#include <string>

#include "engine/config.h"
#include "engine/graph_policy.h"
#include "engine/runner.h"
#include "engine/schedule/model_limits.h"
#include "engine/weights.h"

namespace glimpse {

struct GpuRunnerOptions {
  GraphPolicy graphs;
  int max_prefill_tokens = 2048;
  int max_vision_rows = 4;
};

class GpuRunner : public Runner {
 public:
  // Empty if the model's sizes, the type and the device suit the kernels; else what was found and
  // what is needed.
  static std::string WhyNot(const ModelConfig& config, const at::TensorOptions& tensors);

  // Takes the memory of everything but the cache, and runs the largest prefill and vision step
  // once, so that what is free afterwards is free for good. `limits` need no num_blocks yet.
  GpuRunner(const ModelConfig& config, const ModelLimits& limits, Weights weights,
            const GpuRunnerOptions& options);
  ~GpuRunner() override;

  // Takes the cache and records the graphs that the policy wants at start. Once, before any step.
  void Start(int num_blocks);

  absl::Status Launch(const StepPlan& plan) override;
  absl::StatusOr<StepOutput> Finish() override;
  int depth() const override;
  // Records a graph that steps have missed, or drops one that none has used for long.
  bool Upkeep() override;
  std::vector<float> Logits(const StepPlan& plan) override;
  GraphStats graph_stats() const override;
  int64_t graph_bytes() const override;

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_GPU_RUNNER_H_
