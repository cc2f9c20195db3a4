// What one client of a history does, and what it sees.
#ifndef GLIMPSE_TESTS_SERVER_HISTORY_STORY_H_
#define GLIMPSE_TESTS_SERVER_HISTORY_STORY_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "engine/schedule/model_limits.h"
#include "engine/schedule/request.h"
#include "glimpse/v1/chat.pb.h"

namespace glimpse {

struct Story {
  std::unique_ptr<Request> request;                        // without its sink, deadline and times
  std::vector<int32_t> alone;                              // the answer to it
  absl::Duration deadline = absl::InfiniteDuration();      // after it is sent
  absl::Duration leaves_after = absl::InfiniteDuration();  // after it is sent; zero: before
  int leaves_at_message = -1;                              // when it has read so many; -1: never
  absl::Duration read_pause;                               // before it reads each message
  int64_t max_stream_bytes = 256 << 10;
};

struct Outcome {
  std::vector<int32_t> ids;
  absl::Status status;    // the end
  bool refused = false;   // it was never accepted: `status` says why
  v1::Finished finished;  // where the end is OK
  bool left = false;      // it left before it saw the end
  absl::Time deadline;    // of the clock
  absl::Time ended;       // when it saw the end
  int started_messages = 0;
  int waits = 0;  // how often there was nothing to read
  int calls = 0;  // how often it was told that there is something
};

// The story number `index` of a history. Pure.
Story MakeStory(uint64_t seed, int index, const ModelLimits& limits);

// Empty if the outcome is one that the story allows.
std::string Violation(const Story& story, const Outcome& outcome);

}  // namespace glimpse

#endif  // GLIMPSE_TESTS_SERVER_HISTORY_STORY_H_
