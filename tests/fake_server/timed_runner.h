// A FakeEngine whose steps take the time that a device would: step follows step, however many are
// launched ahead, and Finish waits for its step's end. It can also break as a device does.
#ifndef GLIMPSE_TESTS_FAKE_SERVER_TIMED_RUNNER_H_
#define GLIMPSE_TESTS_FAKE_SERVER_TIMED_RUNNER_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <utility>

#include "absl/time/time.h"
#include "engine/schedule/clock.h"
#include "engine/schedule/step_plan.h"
#include "tests/fake_engine.h"

namespace glimpse {

struct DeviceTimes {
  absl::Duration decode_step;
  absl::Duration prefill_step;
  absl::Duration prefill_token;  // on top of prefill_step, for each token of the bucket
  absl::Duration vision_layer;   // for each layer of each picture
};

class TimedRunner : public StepRunner {
 public:
  // Breaks for good at step `break_at_step`, counted from 0; never if it is negative. `clock`
  // outlives the runner, and runs by itself: it is slept by.
  TimedRunner(std::unique_ptr<FakeEngine> engine, const DeviceTimes& times, int64_t break_at_step,
              const Clock* clock)
      : engine_(std::move(engine)), times_(times), break_at_step_(break_at_step), clock_(clock) {}

  absl::Status Launch(const StepPlan& plan) override;
  absl::StatusOr<StepOutput> Finish() override;
  int depth() const override { return engine_->depth(); }
  bool Upkeep() override { return engine_->Upkeep(); }
  bool broken() const override { return engine_->broken(); }

 private:
  absl::Duration TimeOf(const StepPlan& plan) const;

  const std::unique_ptr<FakeEngine> engine_;
  const DeviceTimes times_;
  const int64_t break_at_step_;
  const Clock* const clock_;
  std::deque<absl::Time> ends_;  // of the steps in flight
  absl::Time last_end_ = absl::InfinitePast();
};

}  // namespace glimpse

#endif  // GLIMPSE_TESTS_FAKE_SERVER_TIMED_RUNNER_H_
