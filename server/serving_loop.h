// The one thread that owns Scheduler and StepRunner: asks for plans, launches them, reports their
// outcomes, and sleeps when there is nothing to do. It keeps StepRunner::depth() steps in flight,
// so that with a depth of 2 the device has its next step while the host reads the tokens of the
// last.
#ifndef GLIMPSE_SERVER_SERVING_LOOP_H_
#define GLIMPSE_SERVER_SERVING_LOOP_H_

#include <deque>
#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "engine/schedule/clock.h"
#include "engine/schedule/request_queue.h"
#include "engine/schedule/scheduler.h"
#include "engine/schedule/step_plan.h"
#include "preprocess/mutex.h"

namespace glimpse {

class ServingLoop {
 public:
  // Starts the thread. Everything given by pointer outlives the loop. `options.depth` is taken from
  // the runner.
  ServingLoop(SchedulerOptions options, RequestQueue* queue, StepRunner* runner,
              const Clock* clock);
  // Drains without waiting.
  ~ServingLoop();
  ServingLoop(const ServingLoop&) = delete;
  ServingLoop& operator=(const ServingLoop&) = delete;

  // Closes the queue and returns when every accepted request has had its Finish and the thread has
  // ended: requests that are not complete at `deadline` (of the clock) get UNAVAILABLE after the
  // steps that are in flight then. One caller at a time; again is harmless.
  void Drain(absl::Time deadline);

  // Runs `task` on the loop's thread once nothing runs or waits there, and returns when it is done:
  // for what needs the runner to itself. One caller at a time, and not beside a Drain.
  void RunWhenIdle(const std::function<void()>& task);

 private:
  struct Step {
    StepPlan plan;
    absl::Status launched;
  };

  void Run();
  bool LaunchNext();    // false: nothing can be launched now
  void FinishOldest();  // a step is in flight
  bool RunTask();       // false: there is none
  bool MustEnd() const;

  RequestQueue* const queue_;
  StepRunner* const runner_;
  const Clock* const clock_;
  Scheduler scheduler_;         // the thread's alone
  std::deque<Step> in_flight_;  // the thread's alone; the oldest first

  mutable Mutex mutex_;
  CondVar task_done_;
  absl::Time drain_deadline_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();
  const std::function<void()>* task_ ABSL_GUARDED_BY(mutex_) = nullptr;

  std::thread thread_;  // last: it uses all of the above
};

}  // namespace glimpse

#endif  // GLIMPSE_SERVER_SERVING_LOOP_H_
