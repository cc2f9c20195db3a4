// One step's batch as a value: what the engine runs next. No device pointer, and no reference into
// the scheduler but the picture's pixels and the prompt's ids, which stay where they are until the
// step is Done or Failed.
#ifndef GLIMPSE_ENGINE_SCHEDULE_STEP_PLAN_H_
#define GLIMPSE_ENGINE_SCHEDULE_STEP_PLAN_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/schedule/request.h"
#include "engine/schedule/token_sink.h"

namespace glimpse {

enum class StepKind {
  kIdle,     // nothing to do
  kVision,   // one row: encode its picture into the slot's image rows
  kPrefill,  // each row is a run of prompt tokens of one sequence, packed one after the other
  kDecode,   // each row is one token of one sequence
};

// A KV row that takes a vision row in place of an embedded id: `tokens` holds ImageRow(k) for row k
// of the picture.
constexpr int32_t ImageRow(int k) { return -1 - k; }
constexpr bool IsImageRow(int32_t token) { return token < 0; }
constexpr int ImageRowIndex(int32_t token) { return -1 - token; }

struct StepRow {
  int64_t sequence = -1;  // the scheduler's number for it, never used again
  int slot = -1;  // 0..max_batch_size-1, the sequence's own from admission to end; -1: padding row
  // The sequence's first step of all: the engine forgets what it kept for the slot. Then `prompt`
  // holds the ids that the repetition penalty counts; null otherwise.
  bool starts = false;
  const std::vector<int32_t>* prompt = nullptr;
  bool samples = false;  // the row's last token yields one sampled token

  std::vector<int32_t> tokens;  // ids or ImageRow(k); empty in a vision step; {0} in a padding row
  std::vector<int32_t> positions;  // rotary positions, one a token
  int kv_length = 0;  // KV rows of the sequence BEFORE this step; its tokens go behind them
  std::vector<int32_t> blocks;      // its KV blocks in order, just enough for kv_length + tokens
  const RgbImage* image = nullptr;  // vision step only

  SamplingParams sampling;
  uint64_t sample_index = 0;  // tokens sampled so far: the counter of the random draw
};

struct StepPlan {
  StepKind kind = StepKind::kIdle;
  std::vector<StepRow> rows;  // decode: padded to `bucket` with padding rows at the end
  int num_real_rows = 0;
  // Decode: rows after padding, which may be more than there are slots; prefill: tokens after
  // padding, which the rows do not show; vision: 1.
  int bucket = 0;

  int NumTokens() const;  // of the real rows
  std::string DebugString() const;
};

// One entry for each real row of the plan, in its order; the entries of rows that do not sample are
// meaningless.
struct StepOutput {
  std::vector<SampledToken> tokens;
};

// Runs plans: the engine, or a fake one in tests. Called by the serving thread alone.
class StepRunner {
 public:
  virtual ~StepRunner() = default;
  // An error means that no row of the plan was advanced. A row's failure is the plan's failure.
  virtual absl::StatusOr<StepOutput> Run(const StepPlan& plan) = 0;
};

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_SCHEDULE_STEP_PLAN_H_
