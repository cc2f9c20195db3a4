#include "tests/fake_server/timed_runner.h"

#include <algorithm>

#include "absl/time/clock.h"

namespace glimpse {

absl::Status TimedRunner::Launch(const StepPlan& plan) {
  if (engine_->num_steps() == break_at_step_) engine_->Break();
  const absl::Status status = engine_->Launch(plan);
  if (!status.ok()) return status;
  last_end_ = std::max(last_end_, clock_->Now()) + TimeOf(plan);
  ends_.push_back(last_end_);
  return absl::OkStatus();
}

absl::StatusOr<StepOutput> TimedRunner::Finish() {
  const absl::Duration left = ends_.front() - clock_->Now();
  ends_.pop_front();
  if (left > absl::ZeroDuration()) absl::SleepFor(left);
  return engine_->Finish();
}

absl::Duration TimedRunner::TimeOf(const StepPlan& plan) const {
  switch (plan.kind) {
    case StepKind::kDecode:
      return times_.decode_step;
    case StepKind::kPrefill:
      return times_.prefill_step + times_.prefill_token * plan.bucket;
    case StepKind::kVision:
      return times_.vision_layer * plan.Size();
    case StepKind::kIdle:
      break;
  }
  return absl::ZeroDuration();
}

}  // namespace glimpse
