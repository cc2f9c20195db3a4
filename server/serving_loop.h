// The one thread that owns Scheduler and StepRunner: asks for plans, launches them, reports their
// outcomes, and sleeps when there is nothing to do. It keeps StepRunner::depth() steps in flight,
// so that with a depth of 2 the device has its next step while the host reads the tokens of the
// last.
//
// A step that fails ends its own requests. When the runner is broken, so that none can succeed any
// more, all requests end INTERNAL and with them the loop.
#ifndef GLIMPSE_SERVER_SERVING_LOOP_H_
#define GLIMPSE_SERVER_SERVING_LOOP_H_

#include <atomic>
#include <cstdint>
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
#include "server/metrics.h"

namespace glimpse {

// Whom the loop tells; any of them may be left out. The functions are called on its thread, hence
// never block.
struct ServingLoopHooks {
  Metrics* metrics = nullptr;  // outlives the loop
  // Between steps, now and then: for what the runner counts itself.
  std::function<void()> publish;
  // The runner is broken. The requests have their end still before them, and later ones are refused
  // by the queue only when this returns.
  std::function<void()> broken;
};

class ServingLoop {
 public:
  // So long nothing ran or waited before the loop calls StepRunner::Upkeep.
  static constexpr absl::Duration kQuiet = absl::Milliseconds(100);

  // Starts the thread. Everything given by pointer outlives the loop. `options.depth` is taken from
  // the runner.
  ServingLoop(SchedulerOptions options, RequestQueue* queue, StepRunner* runner, const Clock* clock,
              ServingLoopHooks hooks = {});
  // Drains without waiting.
  ~ServingLoop();
  ServingLoop(const ServingLoop&) = delete;
  ServingLoop& operator=(const ServingLoop&) = delete;

  // Closes the queue and returns when every accepted request has had its Finish and the thread has
  // ended: requests that are not complete at `deadline` (of the clock) get UNAVAILABLE after the
  // steps that are in flight then. One caller at a time, for TryDrain as well; again is harmless.
  void Drain(absl::Time deadline);

  // As Drain, but waits at most `timeout` of real time: false if the thread has not ended by then,
  // as while a step hangs.
  bool TryDrain(absl::Time deadline, absl::Duration timeout);

  // Runs `task` on the loop's thread once nothing runs or waits there, and returns when it is done:
  // for what needs the runner to itself. False, without having run it, if the loop has ended. One
  // caller at a time, and not beside a Drain.
  bool RunWhenIdle(const std::function<void()>& task);

  // Any thread. OK, or why no step can succeed any more.
  absl::Status fault() const;

  // Any thread, for Liveness: a count that grows with each step that comes to an end and when there
  // is nothing left to do; and whether there is something to do.
  int64_t progress() const { return progress_; }
  bool has_work() const { return busy_ || queue_->depth().requests > 0; }

 private:
  struct Step {
    StepPlan plan;
    absl::Status launched;
  };

  void Run();
  bool Turn();          // false: the loop ends
  bool LaunchNext();    // false: nothing can be launched now
  void FinishOldest();  // a step is in flight
  void Rest();          // none is
  void UseQuiet();
  void Publish(absl::Time now);
  bool RunTask();  // false: there is none
  void BreakIfBroken(const absl::Status& reason);
  void End();
  void Close(absl::Time deadline);
  bool MustEnd() const;

  RequestQueue* const queue_;
  StepRunner* const runner_;
  const Clock* const clock_;
  const ServingLoopHooks hooks_;
  std::atomic<int64_t> progress_ = 0;
  std::atomic<bool> busy_ = false;

  // The thread's alone.
  Scheduler scheduler_;
  std::deque<Step> in_flight_;  // the oldest first
  absl::Time last_work_;        // when the last step was finished
  absl::Time last_publish_;     // when hooks_.publish was called
  bool quiet_is_due_ = true;    // from a step until quiet has been used for all that there is
  bool broken_ = false;         // `fault_` is set

  mutable Mutex mutex_;
  CondVar changed_;  // `task_` or `ended_`
  absl::Time drain_deadline_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();
  const std::function<void()>* task_ ABSL_GUARDED_BY(mutex_) = nullptr;
  absl::Status fault_ ABSL_GUARDED_BY(mutex_);
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;  // takes no more tasks

  std::thread thread_;  // last: it uses all of the above
};

}  // namespace glimpse

#endif  // GLIMPSE_SERVER_SERVING_LOOP_H_
