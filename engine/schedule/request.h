// What a client asked: complete and validated. Moved as unique_ptr along the pipeline; immutable
// after admission.
#ifndef GLIMPSE_ENGINE_SCHEDULE_REQUEST_H_
#define GLIMPSE_ENGINE_SCHEDULE_REQUEST_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "engine/schedule/token_sink.h"
#include "preprocess/image_decoder.h"

namespace glimpse {

// Values are already in range: the server refuses others.
struct SamplingParams {
  float temperature = 1.0f;         // 0: greedy
  float top_p = 1.0f;               // (0, 1]; 1: off
  int top_k = 0;                    // 0: off
  float repetition_penalty = 1.0f;  // 1: off; applies to prompt and answer, as in transformers
  uint64_t seed = 0;                // counter-based: (seed, index of the token) gives the draw
  int top_logprobs = -1;  // -1: none wanted; 0..20: that many alternatives with each token
};

struct Request {
  std::string id;
  std::vector<int32_t> prompt;  // with the picture's three ids, before they are expanded
  int image_at = -1;            // index in `prompt` of <|begin_of_image|>; -1 without a picture
  RgbImage image;               // of the model's size; empty without a picture
  SamplingParams sampling;
  int max_tokens = 0;  // >= 1
  bool ignore_stop_ids = false;
  absl::Time deadline = absl::InfiniteFuture();
  StageTimes times;
  std::unique_ptr<TokenSink> sink;

  // What it takes of RequestQueue's bounds.
  int64_t TokenCost() const { return static_cast<int64_t>(prompt.size()) + max_tokens; }
  int64_t ByteCost() const {
    return static_cast<int64_t>(sizeof(*this) + prompt.size() * sizeof(int32_t) +
                                image.pixels.size());
  }
};

// DEADLINE_EXCEEDED or CANCELLED when nobody waits for the answer any more. The deadline comes
// first: a client's own deadline also cancels its call.
inline absl::Status StillWanted(const Request& request, absl::Time now) {
  if (now >= request.deadline) return absl::DeadlineExceededError("the deadline has passed");
  if (request.sink->Gone()) return absl::CancelledError("the client has left");
  return absl::OkStatus();
}

// The one `Finish` of a request that never came to run.
inline void FinishUnstarted(const Request& request, const absl::Status& status, absl::Time now) {
  Completion completion;
  completion.times = request.times;
  completion.times.finished = now;
  request.sink->Finish(status, completion);
}

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_SCHEDULE_REQUEST_H_
