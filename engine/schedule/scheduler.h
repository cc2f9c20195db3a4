// Decides what the next step runs: continuous batching into padded steps.
//
//   StepPlan plan = scheduler.Next(clock.Now());
//   if (plan.kind == StepKind::kIdle) ...            // nothing can be planned now: see NextLook
//   absl::Status launched = runner.Launch(plan);     // at once: nothing lies between
//   ...                                              // up to `depth` plans may be in flight
//   absl::StatusOr<StepOutput> output = runner.Finish();
//   if (output.ok()) scheduler.Done(plan, *output, clock.Now());
//   else             scheduler.Failed(plan, output.status(), clock.Now());
//
// A deterministic state machine without locks or device; used by the serving thread alone. `Next`
// drops the cancelled and the expired, admits, and plans. Each plan that is not idle must come to
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
// Admission is first come, first served. The queue's first request gets a slot if fewer run than
// the policy wants at once, and KV blocks for its prompt and one token; until there are as many,
// and besides as many as all that run, it included, will need within `kv_lookahead_tokens` tokens,
// it waits, and all behind it (if nobody runs, the blocks for prompt and token are enough).
// Decoding takes its blocks one by one. When none is free, the youngest that runs is preempted
// (itself, if it is the one that asks): slot and blocks are free at once, as a ghost's are, but its
// tokens in flight still count. It waits before the queue, the oldest first, and starts anew as
// Sequence::Restart says, with a new number. Whoever runs is older than whoever is preempted, who
// is older than whoever is queued; so the oldest is never preempted, and since CheckCanRun has it
// that it fits alone, it always goes on: no deadlock, and nobody waits for ever.
//
// A step is of one kind. Decoding has at least every second step if any can decode. The others go
// to the sequences before their first token, the oldest first among pictures and among prompts;
// where both wait, four of five go to the kind of the oldest, so that a picture is not held up by
// all prompts behind it, nor a prompt by the pictures before it. Pictures that wait together are
// encoded together. Where others decode, a prompt is cut into chunks, and a group of pictures into
// slices of the tower's layers, that take no longer than the policy's stall budget by what steps
// took lately, but of at least `kLeastTokens` and one layer, so that all go on. Where nobody
// decodes the bound is kLongestStep, on a slow device the time of kLongestInDecodeSteps decode
// steps: small parts cost throughput.
// A step is also cut so that it ends within `kDeadlineSlack` of the next deadline of all, which is
// how late an expired request may hear of it, in the queue as in a slot. Two steps can take longer
// all the same: one of the least size on a slow device, and a server's first one of its kind where
// nobody decodes, which runs whole, since nothing is known of what it takes.
//
// An idle plan means that what runs, if it does, ends with what is in flight; or, with nothing in
// flight, that the policy has an idle server's first requests wait for company. In both cases the
// queue is empty or has to wait for room.
#ifndef GLIMPSE_ENGINE_SCHEDULE_SCHEDULER_H_
#define GLIMPSE_ENGINE_SCHEDULE_SCHEDULER_H_

#include <cstdint>
#include <deque>
#include <list>
#include <map>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "engine/schedule/batch_policy.h"
#include "engine/schedule/block_pool.h"
#include "engine/schedule/bucket_table.h"
#include "engine/schedule/load_meter.h"
#include "engine/schedule/model_limits.h"
#include "engine/schedule/request_queue.h"
#include "engine/schedule/scheduler_stats.h"
#include "engine/schedule/sequence.h"
#include "engine/schedule/step_costs.h"
#include "engine/schedule/step_plan.h"

namespace glimpse {

struct SchedulerOptions {
  ModelLimits limits;  // vision_layers >= 1 where there are image rows
  BucketTable buckets;
  // Tokens of one prefill step over all its rows, >= 1; longer prompts take several steps.
  int max_prefill_tokens = 2048;
  int max_vision_rows = 4;  // pictures of one vision step, >= 1
  int depth = 1;            // plans in flight at the same time, >= 1: StepRunner::depth
  BatchPolicyKind policy = BatchPolicyKind::kAuto;
  // Tokens for which those that run keep free blocks at an admission, >= 0: the more, the rarer
  // preemptions, and the fewer run at once while KV blocks are short.
  int kv_lookahead_tokens = 64;
};

class Scheduler {
 public:
  static constexpr int kLeastTokens = 64;
  static constexpr int kTurnsOfOldest = 4;  // on end, before the other kind has one
  static constexpr int kLongestInDecodeSteps = 12;
  static constexpr absl::Duration kDeadlineSlack = absl::Milliseconds(15);

  // `queue` outlives the scheduler.
  Scheduler(const SchedulerOptions& options, RequestQueue* queue);
  // What still runs is destroyed without a `Finish`: call AbortAll before, or let it end.
  ~Scheduler() = default;
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // With fewer than `depth` plans in flight.
  StepPlan Next(absl::Time now);
  StepReport Done(const StepPlan& plan, const StepOutput& output, absl::Time now);
  // Ends those of the plan's sequences that still run with `status`; the others go on.
  void Failed(const StepPlan& plan, const absl::Status& status, absl::Time now);
  // Ends every running and queued request with `status`: shutdown.
  void AbortAll(const absl::Status& status, absl::Time now);

  // After an idle plan with nothing in flight: when Next has to be called if no request comes and
  // nobody leaves before. InfiniteFuture: not at all.
  absl::Time NextLook() const;
  // Nothing runs and nothing is preempted; the queue may hold requests.
  bool empty() const { return running_.empty() && preempted_.empty(); }

  int num_running() const { return static_cast<int>(running_.size()); }
  const BlockPool& blocks() const { return pool_; }
  SchedulerLoad load() const;

 private:
  // By the number of admission, which is also StepRow::sequence: iteration goes from the oldest.
  using Running = std::map<int64_t, Sequence>;
  using Preempted = std::list<Sequence>;
  struct InFlight {
    absl::Time planned;
    absl::Duration estimate;
  };
  // The pictures whose tower is under way.
  struct Pictures {
    std::vector<int64_t> sequences;  // those that still run; empty: none are under way
    int size = 0;                    // with those that left: the device runs them to the end
    int next_layer = 0;
  };
  struct Work {  // what those that run are ready for
    bool decode = false;
    bool vision = false;
    bool vision_is_older = false;  // than all that wait for prefill
    int prefill_tokens = 0;
  };

  // scheduler.cc
  void DropUnwanted(absl::Time now);
  void Measure(absl::Time now);
  absl::Duration EndStep(const StepPlan& plan, absl::Time now);  // the step's duration
  void Accept(const StepRow& row, const SampledToken& token, absl::Time now);
  // Takes the sequence out: its slot and blocks are free before its client hears of the end.
  Running::iterator End(Running::iterator entry, const absl::Status& status, FinishReason reason,
                        absl::Time now);
  Preempted::iterator End(Preempted::iterator entry, const absl::Status& status,
                          FinishReason reason, absl::Time now);
  Preempted::iterator FindPreempted(int64_t number);

  // scheduler_admission.cc
  void Admit(absl::Time now);
  // Puts the oldest preempted sequence, the queue's first request into a slot, or refuses it; false
  // if it has to wait.
  bool AdmitPreempted();
  bool AdmitQueued(absl::Time now);
  // `count` blocks, if those that run and the one that comes, which will soon have `soon` blocks,
  // find theirs besides.
  std::optional<std::vector<BlockHandle>> AdmissionBlocks(int64_t count, int64_t soon);
  int TakeSlot();
  // A block for the row that it feeds next, if it takes preemptions; false if it was preempted.
  bool MakeRoom(Running::iterator entry);
  void PreemptYoungest();
  // Until when what runs waits for company; none if there is no reason to.
  std::optional<absl::Time> CompanyUntil() const;

  // scheduler_planning.cc; none but Advance advances a sequence.
  StepPlan Choose(absl::Time now);
  Work FindWork() const;
  bool VisionHasTheTurn(const Work& work) const;
  StepPlan PlanDecode();  // no rows: whoever could decode was preempted
  StepPlan PlanPrefill(const Work& work, absl::Time now) const;
  StepPlan PlanVision(const Work& work, absl::Time now);
  void ChoosePictures();
  // How much of a step of `size` may run in one go.
  int Part(StepKind kind, int size, bool beside_decoding, absl::Time now) const;
  absl::Time NextDeadline() const;
  void Advance(const StepPlan& plan);

  const SchedulerOptions options_;
  RequestQueue* const queue_;
  BlockPool pool_;  // before what holds its blocks
  std::vector<int> free_slots_;
  Running running_;
  Preempted preempted_;  // the oldest first; without slot and blocks
  Pictures pictures_;
  int64_t next_number_ = 0;
  int64_t next_plan_ = 0;                 // StepPlan::number
  std::deque<InFlight> in_flight_;        // the oldest first; the last one is plan next_plan_ - 1
  StepKind last_kind_ = StepKind::kIdle;  // of the plan before
  StepKind last_first_kind_ = StepKind::kIdle;  // of the last vision or prefill plan
  int turns_ = 0;                               // such plans of this kind on end
  absl::Time last_done_ = absl::InfinitePast();

  LoadMeter meter_;
  StepCosts costs_;
  BatchTargets targets_;
  int64_t preemptions_ = 0;
};

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_SCHEDULE_SCHEDULER_H_
