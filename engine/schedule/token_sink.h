// The engine side's view of a client: where the tokens of one request go.
#ifndef GLIMPSE_ENGINE_SCHEDULE_TOKEN_SINK_H_
#define GLIMPSE_ENGINE_SCHEDULE_TOKEN_SINK_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace glimpse {

struct TokenLogprob {
  int32_t id = 0;
  float logprob = 0;  // natural logarithm, of the distribution before temperature and cuts
};

// One sampled token. `top` is filled only where the request asked for logprobs.
struct SampledToken {
  int32_t id = 0;
  float logprob = 0;
  std::vector<TokenLogprob> top;  // most likely first
};

enum class FinishReason {
  kStop,        // the model wrote one of the checkpoint's stop ids
  kLength,      // max_tokens, or the context is full
  kStopString,  // the sink saw one of the request's stop strings
};

// Times of what did not happen are InfinitePast.
inline bool Happened(absl::Time time) { return time != absl::InfinitePast(); }

// When each stage of a request began or ended.
struct StageTimes {
  absl::Time arrived = absl::InfinitePast();   // the RPC came in
  absl::Time enqueued = absl::InfinitePast();  // preprocessed and put into the queue
  absl::Time admitted = absl::InfinitePast();  // given a slot and KV blocks
  absl::Time encoded = absl::InfinitePast();   // picture through the vision tower
  absl::Time first_token = absl::InfinitePast();
  absl::Time finished = absl::InfinitePast();

  absl::Time prefill_began() const { return Happened(encoded) ? encoded : admitted; }
};

struct Completion {
  FinishReason reason = FinishReason::kStop;
  int completion_tokens = 0;  // sampled tokens, a stop id included
  StageTimes times;
};

// Calls come from the serving thread alone, in order, and none of them may block. After `Finish`
// there is no further call; a request that was accepted gets exactly one `Finish`. Not Push'ed:
// stop ids.
class TokenSink {
 public:
  virtual ~TokenSink() = default;

  // False: the client needs no more (a stop string matched); the caller finishes with kStopString.
  virtual bool Push(const SampledToken& token) = 0;

  // `completion.reason` means something only when `status` is OK; counts and times always do.
  virtual void Finish(const absl::Status& status, const Completion& completion) = 0;

  // The client has left or can't be served further; the caller ends with Finish(CANCELLED) within
  // one step.
  virtual bool Gone() const = 0;
};

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_SCHEDULE_TOKEN_SINK_H_
