// One step's batch as a value: what the engine runs next. No device pointer, and no reference into
// the scheduler but the pictures' pixels and the prompts' ids, which stay where they are until the
// scheduler's next call: a plan is launched as soon as it is made.
#ifndef GLIMPSE_ENGINE_SCHEDULE_STEP_PLAN_H_
#define GLIMPSE_ENGINE_SCHEDULE_STEP_PLAN_H_

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/schedule/request.h"
#include "engine/schedule/token_sink.h"

namespace glimpse {

enum class StepKind {
  kIdle,     // nothing to do
  kVision,   // each row is a picture, of which a slice of the tower's layers is computed
  kPrefill,  // each row is a run of one sequence's prompt, packed one after the other; after a
             // restart (see sequence.h) the answer so far counts as prompt
  kDecode,   // each row is one token of one sequence
};

const char* StepKindName(StepKind kind);  // "idle", "vision", "prefill" or "decode"

// Stands in a decode row for the id that its slot sampled last, when the step that samples it has
// not been finished: only the device knows it yet.
constexpr int32_t kLastToken = std::numeric_limits<int32_t>::min();

// A KV row that takes a vision row in place of an embedded id: `tokens` holds ImageRow(k) for row k
// of the picture.
constexpr int32_t ImageRow(int k) { return -1 - k; }
constexpr bool IsImageRow(int32_t token) { return token < 0 && token != kLastToken; }
constexpr int ImageRowIndex(int32_t token) { return -1 - token; }

struct StepRow {
  int64_t sequence = -1;  // the scheduler's number for it, never used again
  // 0..max_batch_size-1, the sequence's own from admission or restart to end or preemption; -1:
  // padding row.
  int slot = -1;
  // The first step under this number: the engine forgets what it kept for the slot. Then `prompt`
  // holds the ids that the repetition penalty counts, prompt and answer so far; null otherwise.
  bool starts = false;
  const std::vector<int32_t>* prompt = nullptr;
  bool samples = false;  // the row's last token yields one sampled token

  // Ids or ImageRow(k), in a decode row also kLastToken; empty in a vision step; {0} in padding.
  std::vector<int32_t> tokens;
  std::vector<int32_t> positions;  // rotary positions, one a token
  // KV rows of the sequence before this step, the steps in flight included; its tokens go behind.
  int kv_length = 0;
  std::vector<int32_t> blocks;      // its KV blocks in order, just enough for kv_length + tokens
  const RgbImage* image = nullptr;  // vision step only

  SamplingParams sampling;
  uint64_t sample_index = 0;  // tokens sampled before this step: the counter of the random draw
};

struct StepPlan {
  int64_t number = -1;  // counts the scheduler's plans
  StepKind kind = StepKind::kIdle;
  std::vector<StepRow> rows;  // decode: padded to `bucket` with padding rows at the end
  int num_real_rows = 0;
  // Decode: rows after padding, which may be more than there are slots; prefill: tokens after
  // padding, which the rows do not show; vision: the pictures of the group's first slice, which may
  // be more than there are rows.
  int bucket = 0;
  // Vision: the layers [first_layer, end_layer) of the tower run, for all rows. The slices of a
  // group of pictures come in order, from layer 0 to ModelLimits::vision_layers, with none of
  // another group between them; the last one puts the pictures into their slots' image rows. Later
  // slices have the rows of the first, less those whose sequences have ended or were preempted,
  // though the device computes the whole group to the end; when all have, the rest never comes.
  int first_layer = 0;
  int end_layer = 0;

  int NumTokens() const;  // of the real rows
  // The work of the step: the group's pictures x layers, tokens or rows with padding. As StepCosts
  // counts it.
  int Size() const {
    return kind == StepKind::kVision ? bucket * (end_layer - first_layer) : bucket;
  }
  std::string DebugString() const;
};

// One entry for each real row of the plan, in its order; the entries of rows that do not sample are
// meaningless.
struct StepOutput {
  std::vector<SampledToken> tokens;
};

// Runs plans as a device does: a step is launched now and finished later, and the next one may be
// launched between. The engine, or a fake one in tests. Called by the serving thread alone.
class StepRunner {
 public:
  virtual ~StepRunner() = default;

  // Starts the step and returns; what the plan points to is not needed after that. Steps run one
  // after the other, in the order of their Launch. An error means that the step does not run: it
  // gets no Finish, and no plan that was made behind it may be launched.
  virtual absl::Status Launch(const StepPlan& plan) = 0;

  // Waits for the oldest launched step that is not finished yet and returns its tokens. A row's
  // failure is the plan's failure: an error leaves none of its sequences fit to go on. Steps that
  // were launched behind it run, whatever they make of such a sequence, and harm no other.
  virtual absl::StatusOr<StepOutput> Finish() = 0;

  // How many steps may be launched and not finished at the same time, >= 1: 1 where more gains
  // nothing (a CPU), else 2.
  virtual int depth() const = 0;

  // Nothing is in flight and nothing waits: time for what would hold up a step, such as recording a
  // graph. One piece of it, well under a second; false if there is no more.
  virtual bool Upkeep() { return false; }

  // True once no step can succeed any more (a device error that does not go away): the process has
  // to end.
  virtual bool broken() const { return false; }
};

// One step by itself, with none in flight.
absl::StatusOr<StepOutput> RunStep(StepRunner& runner, const StepPlan& plan);

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_SCHEDULE_STEP_PLAN_H_
