// A StepRunner without a model, for tests of all that stands above the engine (link `fake_engine`).
//
// It keeps a paged KV cache as the real one does: each row that is fed is written through the block
// table as (what it holds, its position), and the next token is a hash of all rows of the sequence
// read back through the block table. So a wrong position, a wrong block, a row of another sequence,
// a picture of another slot or a row fed twice changes the answer. `AnswerAlone` says, without any
// of that machinery, what the answer has to be.
//
// A plan that breaks step_plan.h's rules (a slot or a block twice, too few blocks, an unwritten row
// read, ...) is answered with INTERNAL and a text that says which.
#ifndef GLIMPSE_TESTS_FAKE_ENGINE_H_
#define GLIMPSE_TESTS_FAKE_ENGINE_H_

#include <cstdint>
#include <functional>
#include <map>
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
  // Called at the start of every Run, on the serving thread; may block it or move a clock.
  std::function<void(const StepPlan&)> on_run;
};

class FakeEngine : public StepRunner {
 public:
  explicit FakeEngine(FakeEngineOptions options);

  absl::StatusOr<StepOutput> Run(const StepPlan& plan) override;

  // Any thread. Run number `step` (from 0) returns `status` and advances nothing.
  void FailStep(int64_t step, absl::Status status);
  // Any thread: how many times Run was called.
  int64_t num_steps() const;

 private:
  struct KvRow {
    bool written = false;
    uint64_t content = 0;
    int32_t position = 0;
  };
  struct Slot {
    int64_t sequence = -1;
    uint64_t prompt = 0;  // hash of the ids that the repetition penalty counts
    std::vector<uint64_t> image_rows;
  };

  absl::Status BeginStep();
  absl::Status StartRow(const StepRow& row);
  absl::Status WriteRows(const StepRow& row);
  absl::StatusOr<int32_t> NextToken(const StepRow& row) const;
  KvRow& At(const StepRow& row, int kv_row);
  const KvRow& At(const StepRow& row, int kv_row) const;

  const FakeEngineOptions options_;
  std::vector<KvRow> cache_;  // [num_blocks, block_size]
  std::vector<Slot> slots_;

  mutable Mutex mutex_;
  int64_t num_steps_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<int64_t, absl::Status> failures_ ABSL_GUARDED_BY(mutex_);
};

// OK if the plan keeps the rules of step_plan.h.
absl::Status CheckPlan(const StepPlan& plan, const ModelLimits& limits);

// The naive model: the ids that FakeEngine (without a script) answers to `request` when it runs
// alone, as the sink sees them: at most max_tokens, without the stop id.
std::vector<int32_t> AnswerAlone(const Request& request, const ModelLimits& limits);

}  // namespace glimpse

#endif  // GLIMPSE_TESTS_FAKE_ENGINE_H_
