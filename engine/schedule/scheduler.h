// Decides what the next step runs: continuous batching into padded steps.
//
//   StepPlan plan = scheduler.Next(clock.Now());
//   if (plan.kind == StepKind::kIdle) ...            // nothing can be planned now
//   absl::Status launched = runner.Launch(plan);     // at once: nothing lies between
//   ...                                              // up to `depth` plans may be in flight
//   absl::StatusOr<StepOutput> output = runner.Finish();
//   if (output.ok()) scheduler.Done(plan, *output, clock.Now());
//   else             scheduler.Failed(plan, output.status(), clock.Now());
//
// A deterministic state machine without locks or device; used by the serving thread alone. `Next`
// admits, drops the cancelled and the expired, and plans. Each plan that is not idle must come to
// exactly one `Done` or `Failed`, in the order in which `Next` gave them (or to an `AbortAll`,
// which voids all that are in flight).
//
// A plan that is made while others are in flight takes it that they succeed and end no sequence. A
// sequence's token that is still being sampled is kLastToken in it; a sequence that reaches
// max_tokens with what is in flight is in no further plan. When the outcome of a step ends a
// sequence all the same (a stop id, a stop string, a failure), its rows in the plans behind are
// ghosts: they run, and their tokens are dropped. So are the rows in flight of a sequence that was
// cancelled or has expired. The ghost's slot and KV blocks are free at once, and may be in the very
// next plan: the device runs steps in order, so all that a ghost writes is written before, and a
// sequence reads no KV row, picture or token that it did not write itself. Ghosts are told from the
// slot's new sequence by StepRow::sequence, a number that is never used again. A failed step leaves
// nothing half done, because its sequences end with it.
//
// Admission is first come, first served: the queue's first request gets a slot and, at once, all KV
// blocks that it can ever need, so what runs never has to make room. Until there is as much it
// waits, and all behind it. An idle plan therefore means that nothing waits that could run, and
// that what runs, if it does, ends with what is in flight: with nothing in flight, nothing runs and
// nothing waits.
//
// A step is of one kind. Sequences before their first token have the turn, the oldest first, and
// every second step if any can decode: neither kind starves the other. Pictures that wait are
// encoded together.
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
  int max_vision_rows = 4;  // pictures of one vision step, >= 1
  int depth = 1;            // plans in flight at the same time, >= 1: StepRunner::depth
};

class Scheduler {
 public:
  // `queue` outlives the scheduler.
  Scheduler(const SchedulerOptions& options, RequestQueue* queue);
  // What still runs is destroyed without a `Finish`: call AbortAll before, or let it end.
  ~Scheduler() = default;
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // With fewer than `depth` plans in flight.
  StepPlan Next(absl::Time now);
  void Done(const StepPlan& plan, const StepOutput& output, absl::Time now);
  // Ends those of the plan's sequences that still run with `status`; the others go on.
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
  // None of them advances a sequence.
  StepPlan Choose() const;
  StepPlan PlanVision() const;
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
  int64_t next_plan_ = 0;                 // StepPlan::number
  int64_t first_in_flight_ = 0;           // the plan whose Done or Failed is awaited, if any is
  StepKind last_kind_ = StepKind::kIdle;  // of the plan before
};

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_SCHEDULE_SCHEDULER_H_
