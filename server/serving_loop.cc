#include "server/serving_loop.h"

#include <cstdio>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace glimpse {
namespace {

SchedulerOptions WithDepth(SchedulerOptions options, int depth) {
  options.depth = depth;
  return options;
}

}  // namespace

ServingLoop::ServingLoop(SchedulerOptions options, RequestQueue* queue, StepRunner* runner,
                         const Clock* clock)
    : queue_(queue),
      runner_(runner),
      clock_(clock),
      scheduler_(WithDepth(std::move(options), runner->depth()), queue),
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

void ServingLoop::RunWhenIdle(const std::function<void()>& task) {
  {
    MutexLock lock(&mutex_);
    task_ = &task;
  }
  queue_->Wake();
  MutexLock lock(&mutex_);
  while (task_ != nullptr) task_done_.Wait(&mutex_);
}

bool ServingLoop::RunTask() {
  const std::function<void()>* task = nullptr;
  {
    MutexLock lock(&mutex_);
    task = task_;
  }
  if (task == nullptr) return false;
  (*task)();
  MutexLock lock(&mutex_);
  task_ = nullptr;
  task_done_.NotifyAll();
  return true;
}

void ServingLoop::Run() {
  while (!MustEnd()) {
    if (LaunchNext()) continue;
    if (!in_flight_.empty()) {
      FinishOldest();
    } else if (queue_->closed() && queue_->depth().requests == 0) {
      return;
    } else if (!RunTask()) {
      queue_->WaitForWork(absl::InfiniteFuture());
    }
  }
  while (!in_flight_.empty()) FinishOldest();
  scheduler_.AbortAll(absl::UnavailableError("the server is shutting down"), clock_->Now());
}

bool ServingLoop::LaunchNext() {
  if (static_cast<int>(in_flight_.size()) == runner_->depth()) return false;
  // Behind a step that did not start, a plan would build on what did not happen.
  if (!in_flight_.empty() && !in_flight_.back().launched.ok()) return false;
  StepPlan plan = scheduler_.Next(clock_->Now());
  if (plan.kind == StepKind::kIdle) return false;
  absl::Status launched = runner_->Launch(plan);
  in_flight_.push_back({std::move(plan), std::move(launched)});
  return true;
}

void ServingLoop::FinishOldest() {
  const Step step = std::move(in_flight_.front());
  in_flight_.pop_front();
  const absl::StatusOr<StepOutput> output = step.launched.ok() ? runner_->Finish() : step.launched;
  if (output.ok()) {
    scheduler_.Done(step.plan, *output, clock_->Now());
    return;
  }
  // Clients get a fixed text; this one is for the operator.
  std::fprintf(stderr, "a step failed: %s\n", output.status().ToString().c_str());
  scheduler_.Failed(step.plan, output.status(), clock_->Now());
}

// Not before the queue is closed: a request that it takes after AbortAll would never be finished.
bool ServingLoop::MustEnd() const {
  if (!queue_->closed()) return false;
  MutexLock lock(&mutex_);
  return clock_->Now() >= drain_deadline_;
}

}  // namespace glimpse
