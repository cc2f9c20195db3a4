// Decides what the next step runs: continuous batching into padded steps.
//
//   while (...) {
//     StepPlan plan = scheduler.Next(clock.Now());
//     if (plan.kind == StepKind::kIdle) { wait for the queue; continue; }
//     absl::StatusOr<StepOutput> output = engine.Run(plan);
//     if (output.ok()) scheduler.Done(plan, *output, clock.Now());
//     else             scheduler.Failed(plan, output.status(), clock.Now());
//   }
//
// A deterministic state machine without locks or device; used by the serving thread alone. `Next`
// admits, drops the cancelled and the expired, and plans, but moves no position: a plan that failed
// leaves nothing half done. After a `Next` that was not idle there must be exactly one `Done` or
// `Failed` with that plan.
#ifndef GLIMPSE_ENGINE_SCHEDULE_SCHEDULER_H_
#define GLIMPSE_ENGINE_SCHEDULE_SCHEDULER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "engine/schedule/block_pool.h"
#include "engine/schedule/bucket_table.h"
#include "engine/schedule/model_limits.h"
#include "engine/schedule/request_queue.h"
#include "engine/schedule/sequence.h"
#include "engine/schedule/step_plan.h"

namespace glimpse {

struct SchedulerOptions {
  ModelLimits limits;
  BucketTable buckets;
  int max_prefill_tokens =
      2048;  // tokens of one prefill step over all its rows; longer prompts take several
};

class Scheduler {
 public:
  // `queue` outlives the scheduler.
  Scheduler(SchedulerOptions options, RequestQueue* queue);
  ~Scheduler();

  StepPlan Next(absl::Time now);
  void Done(const StepPlan& plan, const StepOutput& output, absl::Time now);
  // Ends the plan's sequences with `status`; the others go on.
  void Failed(const StepPlan& plan, const absl::Status& status, absl::Time now);
  // Ends every running and queued request with `status`: shutdown.
  void AbortAll(const absl::Status& status, absl::Time now);

  int num_running() const;
  const BlockPool& blocks() const;
};

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_SCHEDULE_SCHEDULER_H_
