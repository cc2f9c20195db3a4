// The decoding state of one request that runs: its slot and KV blocks, what of it stands in the KV
// cache, and what comes next. Used by the serving thread alone.
//
// Think of it as one list of KV rows. It begins with the prompt, in which the picture's three ids
// are replaced by `image_rows` vision rows, and grows by each token that is sampled. The first
// `kv_length` of them are in the cache, the rest are still to be fed to the model: all of them at
// first, in chunks during prefill, and just the last sampled token during decode. The step that
// feeds the last row of the list samples the next token.
//
// Steps are planned ahead of their outcome, so the list is that of the future: a planned step
// counts as one that has run (`Advance`), and a token that it samples is in the list, though nobody
// knows it yet, until `Accept` says which. A step that fails ends its sequences, so nothing is ever
// taken back.
//
// KV blocks are added as the list grows (`AddBlocks`). A sequence can be made to give back slot and
// blocks (`Preempt`); once all its tokens are known, `Restart` lets it begin anew under another
// number. Then all rows of the list are to be fed again, the known tokens among them, and the
// picture is to be encoded again; what is sampled after that goes on where the answer was, with the
// same counter of the random draws. So the client sees a pause and nothing else. On a real device
// the rows that a decode step once wrote are now written by prefill kernels, which agree with it up
// to rounding (bf16).
//
// Rotary positions are not row numbers: a picture counts as three ids there, as it does in
// `Request::prompt`, and all its patches share the middle one's position:
//
//   prompt    a  b  boi    image                        eoi    c      image_at = 2, image_rows = 6
//   KV row    0  1  2      3      4      5      6      7      8
//   holds     a  b  row 0  row 1  row 2  row 3  row 4  row 5  c
//   position  0  1  2      3      3      3      3      4      5
#ifndef GLIMPSE_ENGINE_SCHEDULE_SEQUENCE_H_
#define GLIMPSE_ENGINE_SCHEDULE_SEQUENCE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "engine/schedule/block_pool.h"
#include "engine/schedule/model_limits.h"
#include "engine/schedule/request.h"
#include "engine/schedule/step_plan.h"
#include "engine/schedule/token_sink.h"

namespace glimpse {

// KV rows and KV blocks that the request takes from its start to its longest possible end.
int64_t KvRowsNeeded(const Request& request, const ModelLimits& limits);
int64_t KvBlocksNeeded(const Request& request, const ModelLimits& limits);
// Blocks that hold `rows` KV rows.
int64_t BlocksFor(int64_t rows, const ModelLimits& limits);
// KV rows of its prompt, the picture expanded.
int64_t PromptRows(const Request& request, const ModelLimits& limits);

// INVALID_ARGUMENT if no amount of waiting lets the request run: more rows than the context or all
// blocks hold, an empty prompt, or a picture for a model that sees none.
absl::Status CheckCanRun(const Request& request, const ModelLimits& limits);

class Sequence {
 public:
  enum class Phase {
    kVision,   // its picture is to be encoded
    kPrefill,  // rows of the prompt, after a restart also of the answer, are to be fed
    kDecode,   // the token sampled last is to be fed
    kPlanned,  // all that it may ever take is planned: it ends with what is in flight
  };

  // `request` passes CheckCanRun; `limits` outlives the sequence.
  Sequence(int64_t number, int slot, std::vector<BlockHandle> blocks,
           std::unique_ptr<Request> request, const ModelLimits* limits);

  Phase phase() const;  // of the next step to plan
  int64_t number() const { return number_; }
  int slot() const { return slot_; }
  const Request& request() const { return *request_; }
  absl::Time admitted() const { return times_.admitted; }
  bool fresh() const { return fresh_; }  // no step of it was ever planned
  // All its sampled tokens are known: none is in flight.
  bool all_known() const { return num_planned_ == num_sampled_; }
  // Rows that are still to be fed before it can decode, the picture's included.
  int rows_to_prefill() const {
    const bool before = phase() == Phase::kVision || phase() == Phase::kPrefill;
    return before ? NumRows() - kv_length_ : 0;
  }

  // Blocks that it lacks to hold its list and `tokens` more, or as many as it can ever get.
  int BlocksMissing(int tokens) const;
  void AddBlocks(std::vector<BlockHandle> blocks);

  // The next step's row for it; these change nothing. A vision row (in kVision) asks for the
  // picture, which stays where it is as long as the sequence; a row of kPrefill and kDecode feeds
  // the next 1 to `max_tokens` KV rows, for which there are blocks.
  StepRow VisionRow() const;
  StepRow NextRow(int max_tokens) const;

  // Such a row is in a plan: what comes after it is next. A picture may take several steps; those
  // before the last are told by `Begin`.
  void Advance(const StepRow& row);
  void Begin();

  // What the planned steps have brought about, in their order.
  void ImageEncoded(absl::Time now);
  // Takes the oldest token that is planned and not known and gives it to the sink; says when the
  // answer ends with it.
  std::optional<FinishReason> Accept(const SampledToken& token, absl::Time now);

  // Gives the blocks back; the slot is another's from now on. Tokens in flight may still come, and
  // end it.
  void Preempt();
  // After Preempt, with all_known().
  void Restart(int64_t number, int slot, std::vector<BlockHandle> blocks);

  // Gives the blocks back, then calls the sink's one `Finish`. The last call.
  void Finish(const absl::Status& status, FinishReason reason, absl::Time now);

 private:
  int NumRows() const;  // of the list, with the tokens that are not known
  StepRow EmptyRow() const;
  int Position(int kv_row) const;

  int64_t number_;
  int slot_;
  std::vector<BlockHandle> blocks_;
  std::unique_ptr<Request> request_;
  const ModelLimits* limits_;
  StageTimes times_;
  std::vector<int32_t> rows_;  // ids and ImageRow(k): expanded prompt, then the known tokens
  int num_sampled_ = 0;        // tokens that are known
  // Since the start or restart: what is fed before decoding, and after a restart the ids that the
  // repetition penalty counts, prompt and answer.
  int num_to_prefill_;
  std::vector<int32_t> seen_;

  // As they are once all planned steps have run.
  int kv_length_ = 0;
  int num_planned_ = 0;  // tokens sampled, known or not
  bool started_ = false;
  bool fresh_ = true;
  bool image_pending_;
};

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_SCHEDULE_SEQUENCE_H_
