// Prompts that an engine answers through a scheduler, as the server has it, but without time.
#ifndef GLIMPSE_TESTS_ENGINE_SERVING_FIXTURE_H_
#define GLIMPSE_TESTS_ENGINE_SERVING_FIXTURE_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "engine/engine.h"
#include "engine/schedule/request.h"

namespace glimpse {

struct Prompt {
  int number = 0;  // what it is made of
  int length = 0;
  bool has_picture = false;
  SamplingParams sampling;
  int answer = 24;
  // The client wants no more, or has left, once it has so many tokens; 0: never.
  int stops_after = 0;
  int gone_after = 0;
};

// A mix of lengths, pictures and ways to sample.
std::vector<Prompt> MixedPrompts();

struct Answer {
  absl::Status status;
  std::vector<SampledToken> tokens;

  std::vector<int32_t> Ids() const;
};

// What happened on the way.
struct ServingEvents {
  int64_t preemptions = 0;
  // Pictures that were encoded once more, into a slot that took another one before.
  int64_t moved_pictures = 0;
};

// Serves all prompts together, through a scheduler that keeps no KV blocks free for those that run:
// where there are few, it preempts. `events` may be null.
std::vector<Answer> Serve(Engine* engine, const EngineOptions& options,
                          const std::vector<Prompt>& prompts, ServingEvents* events = nullptr);

// Of answers that are OK.
std::vector<std::vector<int32_t>> Ids(const std::vector<Answer>& answers);

}  // namespace glimpse

#endif  // GLIMPSE_TESTS_ENGINE_SERVING_FIXTURE_H_
