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

// INVALID_ARGUMENT if no amount of waiting lets the request run: more rows than the context or all
// blocks hold, an empty prompt, or a picture for a model that sees none.
absl::Status CheckCanRun(const Request& request, const ModelLimits& limits);

class Sequence {
 public:
  enum class Phase {
    kVision,   // its picture is to be encoded
    kPrefill,  // rows of the prompt are to be fed
    kDecode,   // the token sampled last is to be fed
    kPlanned,  // all that it may ever take is planned: it ends with what is in flight
  };

  // `request` passes CheckCanRun; `blocks` are the KvBlocksNeeded; `limits` outlives the sequence.
  Sequence(int64_t number, int slot, std::vector<BlockHandle> blocks,
           std::unique_ptr<Request> request, const ModelLimits* limits);

  Phase phase() const;  // of the next step to plan
  int slot() const { return slot_; }
  const Request& request() const { return *request_; }

  // The next step's row for it; these change nothing. A vision row (in kVision) asks for the
  // picture, which stays where it is as long as the sequence; a row of kPrefill and kDecode feeds
  // the next 1 to `max_tokens` KV rows.
  StepRow VisionRow() const;
  StepRow NextRow(int max_tokens) const;

  // Such a row is in a plan: what comes after it is next.
  void Advance(const StepRow& row);

  // What the planned steps have brought about, in their order.
  void ImageEncoded(absl::Time now);
  // Takes the oldest token that is planned and not known and gives it to the sink; says when the
  // answer ends with it.
  std::optional<FinishReason> Accept(const SampledToken& token, absl::Time now);

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

  // As they are once all planned steps have run.
  int kv_length_ = 0;
  int num_planned_ = 0;  // tokens sampled, known or not
  bool started_ = false;
  bool image_pending_;
};

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_SCHEDULE_SEQUENCE_H_
