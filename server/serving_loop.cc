#include "server/serving_loop.h"

#include <cstdio>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace glimpse {

ServingLoop::ServingLoop(SchedulerOptions options, RequestQueue* queue, StepRunner* runner,
                         const Clock* clock)
    : queue_(queue),
      runner_(runner),
      clock_(clock),
      scheduler_(std::move(options), queue),
      thread_([this] { Run(); }) {}

ServingLoop::~ServingLoop() { Drain(absl::InfinitePast()); }

void ServingLoop::Drain(absl::Time deadline) {
  {
    MutexLock lock(&mutex_);
    drain_deadline_ = deadline;
  }
  queue_->Close();
  if (thread_.joinable()) thread_.join();
}

void ServingLoop::Run() {
  while (!MustEnd()) {
    const StepPlan plan = scheduler_.Next(clock_->Now());
    if (plan.kind != StepKind::kIdle) {
      RunStep(plan);
    } else if (queue_->closed() && queue_->depth().requests == 0) {
      return;
    } else {
      queue_->WaitForWork(absl::InfiniteFuture());
    }
  }
  scheduler_.AbortAll(absl::UnavailableError("the server is shutting down"), clock_->Now());
}

void ServingLoop::RunStep(const StepPlan& plan) {
  const absl::StatusOr<StepOutput> output = runner_->Run(plan);
  if (output.ok()) {
    scheduler_.Done(plan, *output, clock_->Now());
    return;
  }
  // Clients get a fixed text; this one is for the operator.
  std::fprintf(stderr, "a step failed: %s\n", output.status().ToString().c_str());
  scheduler_.Failed(plan, output.status(), clock_->Now());
}

// Not before the queue is closed: a request that it takes after AbortAll would never be finished.
bool ServingLoop::MustEnd() const {
  if (!queue_->closed()) return false;
  MutexLock lock(&mutex_);
  return clock_->Now() >= drain_deadline_;
}

}  // namespace glimpse
