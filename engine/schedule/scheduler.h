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
// `Failed` with that plan (or an `AbortAll`, which voids it).
//
// Admission is first come, first served: the queue's first request gets a slot and, at once, all KV
// blocks that it can ever need, so what runs never has to make room. Until there is as much it
// waits, and all behind it. Idle therefore means that nothing runs and nothing waits.
//
// A step is of one kind. Sequences before their first token have the turn, the oldest first, and
// every second step if any can decode: neither kind starves the other.
#ifndef GLIMPSE_ENGINE_SCHEDULE_SCHEDULER_H_
#define GLIMPSE_ENGINE_SCHEDULE_SCHEDULER_H_

#include <cstdint>
#include <map>
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
  // Tokens of one prefill step over all its rows, >= 1; longer prompts take several steps.
  int max_prefill_tokens = 2048;
};

class Scheduler {
 public:
  // `queue` outlives the scheduler.
  Scheduler(const SchedulerOptions& options, RequestQueue* queue);
  // What still runs is destroyed without a `Finish`: call AbortAll before, or let it end.
  ~Scheduler() = default;
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  StepPlan Next(absl::Time now);
  void Done(const StepPlan& plan, const StepOutput& output, absl::Time now);
  // Ends the plan's sequences with `status`; the others go on.
  void Failed(const StepPlan& plan, const absl::Status& status, absl::Time now);
  // Ends every running and queued request with `status`: shutdown.
  void AbortAll(const absl::Status& status, absl::Time now);

  int num_running() const { return static_cast<int>(running_.size()); }
  const BlockPool& blocks() const { return pool_; }

 private:
  // By the number of admission, which is also StepRow::sequence: iteration goes from the oldest.
  using Running = std::map<int64_t, Sequence>;

  void DropUnwanted(absl::Time now);
  void Admit(absl::Time now);
  // Puts the queue's first request into a slot, or refuses it; false if it has to wait.
  bool AdmitFirst(const Request& first, absl::Time now);
  StepPlan Choose() const;
  StepPlan PlanVision(const Sequence& sequence) const;
  StepPlan PlanPrefill() const;
  StepPlan PlanDecode() const;
  void EndStep(const StepPlan& plan);
  // Takes the sequence out: its slot and blocks are free before its client hears of the end.
  Running::iterator End(Running::iterator entry, const absl::Status& status, FinishReason reason,
                        absl::Time now);

  const SchedulerOptions options_;
  RequestQueue* const queue_;
  BlockPool pool_;  // before `running_`, whose sequences hold its blocks
  std::vector<int> free_slots_;
  Running running_;
  int64_t next_number_ = 0;
  StepKind in_flight_ = StepKind::kIdle;  // the plan whose Done or Failed is awaited
  StepKind last_kind_ = StepKind::kIdle;  // the step before
};

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_SCHEDULE_SCHEDULER_H_
