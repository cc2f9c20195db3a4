// A StepRunner without a model, for tests of all that stands above the engine (link `fake_engine`).
//
// It keeps a paged KV cache as the real one does: each row that is fed is written through the block
// table as (what it holds, its position), and the next token is a hash of all rows of the sequence
// read back through the block table. So a wrong position, a wrong block, a row of another sequence,
// a picture of another slot or a row fed twice changes the answer. `AnswerAlone` says, without any
// of that machinery, what the answer has to be.
//
// It has a depth as a device has: a step runs in Launch, in order, and Finish only hands out what
// came of it. Like a device it remembers the token that each slot sampled last.
//
// Launch answers a plan that breaks step_plan.h's rules with INTERNAL and a text that says which: a
// slot or a block twice, a row that does not go on where the slot's last one ended, rows in a
// block that another sequence has had since, kLastToken for a token that is known, a
// vision slice out of its turn, ...
#ifndef GLIMPSE_TESTS_FAKE_ENGINE_H_
#define GLIMPSE_TESTS_FAKE_ENGINE_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <set>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/schedule/model_limits.h"
#include "engine/schedule/request.h"
#include "engine/schedule/step_plan.h"
#include "preprocess/mutex.h"

namespace glimpse {

struct FakeEngineOptions {
  ModelLimits limits;
  // If not empty, every answer is these ids and then the first stop id, for tests that need to know
  // the text. Otherwise the hash decides, among ids below `limits.vocabulary_size`.
  std::vector<int32_t> script;
  // Called at the start of every Launch, on the serving thread; may block it or move a clock.
  std::function<void(const StepPlan&)> on_launch;
  int depth = 1;
  int upkeep = 0;  // pieces that Upkeep finds to do
};

// The token of a row that ran for nothing, because an earlier step of its sequence failed.
inline constexpr int32_t kGhostToken = -1;

class FakeEngine : public StepRunner {
 public:
  explicit FakeEngine(FakeEngineOptions options);

  absl::Status Launch(const StepPlan& plan) override;
  absl::StatusOr<StepOutput> Finish() override;
  int depth() const override { return options_.depth; }
  bool Upkeep() override;
  bool broken() const override { return broken_; }

  // Any thread. From now on broken() is true, and every Launch fails.
  void Break() { broken_ = true; }
  // Any thread. Step number `step` (from 0, by Launch) fails with `status` and advances nothing: at
  // its Launch, or only at its Finish.
  void FailLaunch(int64_t step, absl::Status status);
  void FailFinish(int64_t step, absl::Status status);
  // Any thread: how many times Launch was called.
  int64_t num_steps() const;
  // Any thread: how many times Upkeep was called.
  int num_upkeeps() const { return num_upkeeps_; }

 private:
  struct KvRow {
    bool written = false;
    uint64_t content = 0;
    int32_t position = 0;
  };
  struct Slot {
    int64_t sequence = -1;
    uint64_t seen = 0;  // hash of the ids that the repetition penalty counts: prompt and answer
    std::vector<uint64_t> image_rows;
    int kv_length = 0;
    uint64_t num_sampled = 0;
    int32_t last_token = 0;
    int64_t last_step = -1;  // that sampled last_token; -1: none has since the sequence started
    bool failed = false;     // a step of it failed at its Finish: what follows are ghosts
  };
  struct Step {
    int64_t number;
    absl::Status status;  // that Finish returns, if it is an error
    StepOutput output;
  };
  struct Faults {
    absl::Status launch, finish;
  };

  Faults BeginStep(int64_t* step);
  absl::Status CheckSlice(const StepPlan& plan);
  absl::Status EnterRow(const StepRow& row);
  absl::Status CheckGoesOn(StepKind kind, const StepRow& row) const;
  bool LastTokenIsKnown(const Slot& slot) const { return slot.last_step < num_finished_; }
  absl::StatusOr<SampledToken> RunRow(const StepPlan& plan, const StepRow& row, int64_t step);
  absl::Status WriteRows(const StepRow& row);
  absl::StatusOr<int32_t> NextToken(const StepRow& row) const;
  KvRow& At(const StepRow& row, int kv_row);
  const KvRow& At(const StepRow& row, int kv_row) const;

  const FakeEngineOptions options_;
  std::vector<KvRow> cache_;       // [num_blocks, block_size]
  std::vector<int64_t> block_of_;  // [num_blocks]: the latest sequence that had the block
  std::vector<Slot> slots_;
  std::deque<Step> in_flight_;
  std::set<int64_t> pictures_;  // of the group that the last vision slice was of: who is left
  int group_size_ = 0;          // with those that left
  int next_layer_ = 0;          // that group's
  std::atomic<int> num_upkeeps_ = 0;
  std::atomic<bool> broken_ = false;
  int64_t num_finished_ = 0;  // the steps before this one are not in flight any more

  mutable Mutex mutex_;
  int64_t num_steps_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<int64_t, Faults> faults_ ABSL_GUARDED_BY(mutex_);
};

// OK if the plan keeps the rules of step_plan.h.
absl::Status CheckPlan(const StepPlan& plan, const ModelLimits& limits);

// The naive model: the ids that FakeEngine (without a script) answers to `request` when it runs
// alone, as the sink sees them: at most max_tokens, without the stop id.
std::vector<int32_t> AnswerAlone(const Request& request, const ModelLimits& limits);

}  // namespace glimpse

#endif  // GLIMPSE_TESTS_FAKE_ENGINE_H_
