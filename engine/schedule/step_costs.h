// What a step takes, learnt from those that were run: how large a prefill or vision step fits into
// a given time. Knows no clock. An estimate can be wrong by any amount, so it may decide when
// something runs and never what. Not thread-safe.
//
// The size of a step is its work: rows of a decode step and tokens of a prefill step, both with
// padding, and pictures x layers of a vision step (StepPlan::Size). A decode step takes about the
// same time whatever its size (it reads all weights), and that is also what a prefill step takes
// before its tokens cost anything: prefill = decode + tokens x rate. Vision = pictures x layers x
// rate.
#ifndef GLIMPSE_ENGINE_SCHEDULE_STEP_COSTS_H_
#define GLIMPSE_ENGINE_SCHEDULE_STEP_COSTS_H_

#include "absl/time/time.h"
#include "engine/schedule/step_plan.h"

namespace glimpse {

class StepCosts {
 public:
  // The sizes that SizeWithin answers before there was a step of the kind.
  static constexpr int kFirstTokens = 256;
  static constexpr int kFirstLayers = 8;

  // A step of `size` >= 1 took `duration`. One that took very long by chance (its graph was
  // recorded) counts for no more than a few times what was expected.
  void Add(StepKind kind, int size, absl::Duration duration);

  // Zero until there was a step of the kind.
  absl::Duration Estimate(StepKind kind, int size) const;

  // The largest size of a prefill or vision step that should fit into `budget`, >= 1. At most twice
  // the largest there was: the farther from what was measured, the less an estimate says.
  int SizeWithin(StepKind kind, absl::Duration budget) const;

 private:
  // Sums over the latest steps of a kind, the older the less; what is above the fixed part only.
  struct Sums {
    double seconds = 0;
    double size = 0;
    int largest = 0;
  };

  const Sums& Of(StepKind kind) const { return kind == StepKind::kVision ? vision_ : prefill_; }
  absl::Duration Fixed(StepKind kind) const;

  absl::Duration decode_;  // zero: unknown
  Sums prefill_;
  Sums vision_;
};

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_SCHEDULE_STEP_COSTS_H_
