#include "server/serving_loop.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "preprocess/fail_point.h"
#include "server/operator_line.h"

namespace glimpse {
namespace {

constexpr absl::Duration kPublishInterval = absl::Seconds(1);

SchedulerOptions WithDepth(SchedulerOptions options, int depth) {
  options.depth = depth;
  return options;
}

}  // namespace

ServingLoop::ServingLoop(SchedulerOptions options, RequestQueue* queue, StepRunner* runner,
                         const Clock* clock, ServingLoopHooks hooks)
    : queue_(queue),
      runner_(runner),
      clock_(clock),
      hooks_(std::move(hooks)),
      scheduler_(WithDepth(std::move(options), runner->depth()), queue),
      last_work_(clock->Now()),
      last_publish_(last_work_),
      thread_([this] { Run(); }) {}

ServingLoop::~ServingLoop() { Drain(absl::InfinitePast()); }

void ServingLoop::Drain(absl::Time deadline) {
  Close(deadline);
  if (thread_.joinable()) thread_.join();
}

bool ServingLoop::TryDrain(absl::Time deadline, absl::Duration timeout) {
  Close(deadline);
  const absl::Time give_up = absl::Now() + timeout;
  {
    MutexLock lock(&mutex_);
    while (!ended_) {
      const absl::Duration left = give_up - absl::Now();
      if (left <= absl::ZeroDuration()) return false;
      changed_.WaitFor(&mutex_, left);
    }
  }
  if (thread_.joinable()) thread_.join();
  return true;
}

void ServingLoop::Close(absl::Time deadline) {
  {
    MutexLock lock(&mutex_);
    drain_deadline_ = deadline;
  }
  queue_->Close();
}

bool ServingLoop::RunWhenIdle(const std::function<void()>& task) {
  {
    MutexLock lock(&mutex_);
    task_ = &task;
  }
  queue_->Wake();
  MutexLock lock(&mutex_);
  while (task_ != nullptr && !ended_) changed_.Wait(&mutex_);
  return std::exchange(task_, nullptr) == nullptr;
}

absl::Status ServingLoop::fault() const {
  MutexLock lock(&mutex_);
  return fault_;
}

void ServingLoop::Run() {
  while (!MustEnd() && Turn()) continue;
  End();
}

bool ServingLoop::Turn() {
  if (LaunchNext()) return true;
  if (!in_flight_.empty()) {
    FinishOldest();
  } else if (!scheduler_.empty()) {
    Rest();
  } else if (queue_->closed() && queue_->depth().requests == 0) {
    return false;
  } else if (!RunTask()) {
    Rest();
  }
  return !broken_;
}

bool ServingLoop::LaunchNext() {
  if (static_cast<int>(in_flight_.size()) == runner_->depth()) return false;
  // Behind a step that did not start, a plan would build on what did not happen.
  if (!in_flight_.empty() && !in_flight_.back().launched.ok()) return false;
  StepPlan plan = scheduler_.Next(clock_->Now());
  if (plan.kind == StepKind::kIdle) return false;
  busy_ = true;
  absl::Status launched = GLIMPSE_FAIL_POINT(kLaunch);
  if (launched.ok()) launched = runner_->Launch(plan);
  in_flight_.push_back({std::move(plan), std::move(launched)});
  return true;
}

void ServingLoop::FinishOldest() {
  const Step step = std::move(in_flight_.front());
  in_flight_.pop_front();
  absl::StatusOr<StepOutput> output = step.launched.ok() ? runner_->Finish() : step.launched;
  const absl::Status injected = GLIMPSE_FAIL_POINT(kSample);
  if (!injected.ok()) output = injected;
  const absl::Time now = clock_->Now();
  if (output.ok()) {
    const StepReport report = scheduler_.Done(step.plan, *output, now);
    if (hooks_.metrics != nullptr) hooks_.metrics->OnStep(report, scheduler_.load());
  } else {
    BreakIfBroken(output.status());  // first: whoever hears of the fault finds the server not ready
    // Clients get a fixed text; this one is for the operator.
    TellOperator(absl::StrCat("a step failed: ", output.status().ToString()));
    scheduler_.Failed(step.plan, output.status(), now);
  }
  ++progress_;
  last_work_ = now;
  quiet_is_due_ = true;
  if (now - last_publish_ >= kPublishInterval) Publish(now);
}

// Waits for requests, for the time that the scheduler has named, or for quiet.
void ServingLoop::Rest() {
  busy_ = !scheduler_.empty();
  if (!busy_) ++progress_;
  if (hooks_.metrics != nullptr) hooks_.metrics->OnIdle(scheduler_.load());
  const absl::Time now = clock_->Now();
  absl::Time wake = scheduler_.NextLook();
  if (quiet_is_due_ && !busy_) {
    wake = std::min(wake, last_work_ + kQuiet);
    if (now >= last_work_ + kQuiet) return UseQuiet();
  }
  queue_->WaitForWork(absl::Now() + (wake - now));
}

void ServingLoop::UseQuiet() {
  Publish(clock_->Now());
  quiet_is_due_ = runner_->Upkeep();
  BreakIfBroken(absl::InternalError("it broke while no step ran"));
}

void ServingLoop::Publish(absl::Time now) {
  last_publish_ = now;
  if (hooks_.publish) hooks_.publish();
}

bool ServingLoop::RunTask() {
  const std::function<void()>* task = nullptr;
  {
    MutexLock lock(&mutex_);
    task = task_;
  }
  if (task == nullptr) return false;
  (*task)();
  {
    MutexLock lock(&mutex_);
    task_ = nullptr;
    changed_.NotifyAll();
  }
  BreakIfBroken(absl::InternalError("it broke while no step ran"));
  return true;
}

void ServingLoop::BreakIfBroken(const absl::Status& reason) {
  if (broken_ || !runner_->broken()) return;
  broken_ = true;
  {
    MutexLock lock(&mutex_);
    fault_ =
        absl::InternalError(absl::StrCat("the device can run no more steps: ", reason.message()));
  }
  if (hooks_.broken) hooks_.broken();
  queue_->Close();
}

void ServingLoop::End() {
  while (!broken_ && !in_flight_.empty()) FinishOldest();
  in_flight_.clear();
  const absl::Status fault = this->fault();
  scheduler_.AbortAll(fault.ok() ? absl::UnavailableError("the server is shutting down") : fault,
                      clock_->Now());
  busy_ = false;
  if (hooks_.metrics != nullptr) hooks_.metrics->OnIdle(scheduler_.load());
  MutexLock lock(&mutex_);
  ended_ = true;
  changed_.NotifyAll();
}

// Not before the queue is closed: a request that it takes after AbortAll would never be finished.
bool ServingLoop::MustEnd() const {
  if (!queue_->closed()) return false;
  MutexLock lock(&mutex_);
  return clock_->Now() >= drain_deadline_;
}

}  // namespace glimpse
