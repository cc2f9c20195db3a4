#include "tests/server/history_story.h"

#include <algorithm>
#include <random>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/status.h"
#include "tests/fake_engine.h"

namespace glimpse {
namespace {

constexpr int kSmallStreamBytes = 2000;

class Dice {
 public:
  Dice(uint64_t seed, int index) {
    std::seed_seq sequence{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32),
                           static_cast<uint32_t>(index)};
    engine_.seed(sequence);
  }
  // [low, high]
  int Number(int low, int high) { return std::uniform_int_distribution<int>(low, high)(engine_); }
  bool OneIn(int n) { return Number(1, n) == 1; }
  absl::Duration UpToMicroseconds(int most) { return absl::Microseconds(Number(0, most)); }

 private:
  std::mt19937 engine_;
};

std::unique_ptr<Request> RandomRequest(Dice& dice) {
  auto request = std::make_unique<Request>();
  const int prompt_tokens = dice.OneIn(8) ? dice.Number(20, 120) : dice.Number(1, 20);
  for (int i = 0; i < prompt_tokens; ++i) request->prompt.push_back(dice.Number(0, 255));
  if (dice.OneIn(5)) {
    request->image_at = dice.Number(0, prompt_tokens);
    const auto position = request->prompt.begin() + request->image_at;
    request->prompt.insert(position, {90, 91, 92});
    const auto shade = static_cast<uint8_t>(dice.Number(0, 255));
    request->image = RgbImage{2, 1, {shade, 1, 2, 3, 4, 5}};
  }
  request->max_tokens = dice.OneIn(8) ? dice.Number(40, 150) : dice.Number(1, 40);
  request->ignore_stop_ids = dice.OneIn(2);
  request->sampling.temperature = dice.OneIn(2) ? 0.0f : 1.0f;
  request->sampling.repetition_penalty = dice.OneIn(4) ? 1.2f : 1.0f;
  request->sampling.seed = static_cast<uint64_t>(dice.Number(0, 1 << 30));
  return request;
}

// The reader was cut for being slow: its buffer is small enough.
bool MayBeSlow(const Story& story) { return story.max_stream_bytes <= kSmallStreamBytes; }

std::string BadError(const Story& story, const Outcome& outcome) {
  const StatusWords words = ToWords(outcome.status);
  const bool injected = absl::StrContains(outcome.status.message(), "injected");
  const bool full = outcome.refused && absl::IsResourceExhausted(outcome.status);
  bool allowed = injected || full;
  if (words.reason == "SLOW_READER") allowed = MayBeSlow(story);
  if (words.code == "CANCELLED") allowed = outcome.left;
  if (words.code == "DEADLINE_EXCEEDED") allowed = outcome.ended >= outcome.deadline;
  return allowed ? "" : absl::StrCat("ended ", outcome.status.ToString());
}

std::string BadAnswer(const Story& story, const Outcome& outcome) {
  if (outcome.left) return "";  // it was not told all
  const bool stopped = static_cast<int>(story.alone.size()) < story.request->max_tokens;
  const auto reason = stopped ? v1::FINISH_REASON_STOP : v1::FINISH_REASON_LENGTH;
  const int sampled = static_cast<int>(story.alone.size()) + stopped;
  if (outcome.ids.size() != story.alone.size()) return "OK without all tokens";
  if (outcome.started_messages != 1) return "an answer has one beginning";
  if (outcome.finished.reason() != reason) return "the wrong reason for the end";
  if (outcome.finished.usage().completion_tokens() != sampled) return "tokens counted wrongly";
  return "";
}

}  // namespace

Story MakeStory(uint64_t seed, int index, const ModelLimits& limits) {
  Dice dice(seed, index);
  Story story;
  story.request = RandomRequest(dice);
  story.request->id = absl::StrCat(index);
  story.alone = AnswerAlone(*story.request, limits);
  switch (dice.Number(0, 9)) {
    case 0:
      story.deadline = dice.UpToMicroseconds(dice.OneIn(2) ? 3000 : 30000);
      break;
    case 1:
    case 2:
      story.leaves_after = dice.OneIn(8) ? absl::ZeroDuration() : dice.UpToMicroseconds(10000);
      break;
    case 3:
      story.leaves_at_message = dice.Number(1, 20);
      break;
    case 4:
      story.read_pause = dice.UpToMicroseconds(2000);
      if (dice.OneIn(3)) story.max_stream_bytes = dice.Number(100, kSmallStreamBytes);
      break;
    default:  // listens to the end
      break;
  }
  return story;
}

std::string Violation(const Story& story, const Outcome& outcome) {
  if (outcome.waits != outcome.calls) {
    return absl::StrCat("waited ", outcome.waits, " times, but was told ", outcome.calls);
  }
  const size_t seen = outcome.ids.size();
  if (seen > story.alone.size() ||
      !std::equal(outcome.ids.begin(), outcome.ids.end(), story.alone.begin())) {
    return absl::StrCat("tokens ", absl::StrJoin(outcome.ids, " "), " instead of ",
                        absl::StrJoin(story.alone, " "));
  }
  return outcome.status.ok() ? BadAnswer(story, outcome) : BadError(story, outcome);
}

}  // namespace glimpse
