// What runs an Engine's steps: LibraryRunner (libtorch alone, any device and type) or GpuRunner
// (the project's kernels and CUDA graphs). Contracts as in step_plan.h; errors of libtorch and CUDA
// are thrown, and Engine makes a Status of them.
#ifndef GLIMPSE_ENGINE_RUNNER_H_
#define GLIMPSE_ENGINE_RUNNER_H_

#include <vector>

#include "absl/status/statusor.h"
#include "engine/schedule/step_plan.h"
#include "engine/step_stats.h"

namespace glimpse {

class Runner {
 public:
  virtual ~Runner() = default;

  virtual absl::Status Launch(const StepPlan& plan) = 0;
  virtual absl::StatusOr<StepOutput> Finish() = 0;
  virtual int depth() const = 0;

  // As Engine::Logits; nothing is in flight.
  virtual std::vector<float> Logits(const StepPlan& plan) = 0;

  // As StepRunner::Upkeep.
  virtual bool Upkeep() { return false; }

  virtual GraphStats graph_stats() const { return {}; }
  virtual int64_t graph_bytes() const { return 0; }
};

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_RUNNER_H_
