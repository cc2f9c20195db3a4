// Environment: GLIMPSE_HISTORY_REQUESTS, how many requests (default 2000); GLIMPSE_HISTORY_SEED, to
// repeat a run that failed, which says its seed.
#include "tests/server/history.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <random>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "preprocess/fail_point.h"
#include "server/status.h"
#include "tests/server/byte_tokenizer.h"
#include "tests/server/history_story.h"

namespace glimpse {
namespace {

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  uint64_t number = 0;
  return text != nullptr && absl::SimpleAtoi(text, &number) ? number : otherwise;
}

// At each hand-over a delay now and then, and an error rarely.
std::string EverywhereSpec() {
  if (!HasFailPoints()) return "";
  return "preprocess=delay(2ms;0.1),preprocess=error(0.005),queue=delay(1ms;0.1),"
         "queue=error(0.005),admission=yield(0.2),admission=error(0.005),launch=delay(1ms;0.05),"
         "launch=error(0.003),sample=delay(1ms;0.05),sample=error(0.003),notify=delay(300us;0.02),"
         "notify=yield(0.1),write=delay(1ms;0.05),write=yield(0.1)";
}

void CheckHistory(int depth, BatchPolicyKind policy, const std::string& fail_points) {
  HistoryOptions options;
  options.seed = FromEnvironment("GLIMPSE_HISTORY_SEED", std::random_device{}());
  options.requests = static_cast<int>(FromEnvironment("GLIMPSE_HISTORY_REQUESTS", 2000) / 4);
  options.depth = depth;
  options.policy = policy;
  options.fail_points = fail_points;
  INFO("GLIMPSE_HISTORY_SEED=" << options.seed << ", depth " << depth << ", policy "
                               << static_cast<int>(policy));
  const HistoryReport report = RunHistory(options);
  CHECK(absl::StrJoin(report.violations, "\n") == "");
  int ends = 0;
  for (const auto& [how, count] : report.ends) ends += count;
  CHECK(ends == options.requests);
  // That it got to where it is meant to.
  INFO(absl::StrJoin(report.ends, ", ", absl::PairFormatter(" "))
       << ", preemptions " << report.preemptions);
  for (const char* how : {"OK", "CANCELLED", "DEADLINE_EXCEEDED", "INTERNAL"}) {
    CHECK(report.ends.count(how) == 1);
  }
}

TEST_CASE("whatever clients, engine and threads do, each request has one end and its own tokens") {
  const int depth = GENERATE(1, 2);
  CheckHistory(depth, BatchPolicyKind::kAuto, EverywhereSpec());
}

TEST_CASE("the same without delays, as fast as it goes") {
  CheckHistory(2, BatchPolicyKind::kAuto, "");
}

TEST_CASE("the same where requests wait for company") {
  CheckHistory(2, BatchPolicyKind::kOffline, EverywhereSpec());
}

TEST_CASE("the checker of histories sees what is wrong") {
  Story story;
  story.request = std::make_unique<Request>();
  story.request->max_tokens = 3;
  story.alone = {7, 8, 9};
  Outcome good;
  good.ids = story.alone;
  good.started_messages = 1;
  good.finished.set_reason(v1::FINISH_REASON_LENGTH);
  good.finished.mutable_usage()->set_completion_tokens(3);
  good.waits = good.calls = 2;
  CHECK(Violation(story, good) == "");

  const auto changed = [&](auto change) {
    Outcome outcome = good;
    change(outcome);
    return Violation(story, outcome);
  };
  CHECK(changed([](Outcome& o) { o.ids[1] = 10; }) != "");     // a foreign token
  CHECK(changed([](Outcome& o) { o.ids.pop_back(); }) != "");  // one is lost
  CHECK(changed([](Outcome& o) { o.ids.push_back(9); }) != "");
  CHECK(changed([](Outcome& o) { o.calls = 3; }) != "");
  CHECK(changed([](Outcome& o) { o.started_messages = 0; }) != "");
  CHECK(changed([](Outcome& o) { o.finished.set_reason(v1::FINISH_REASON_STOP); }) != "");
  CHECK(changed([](Outcome& o) { o.status = CancelledError(); }) != "");  // it did not leave
  CHECK(changed([](Outcome& o) { o.status = SlowReaderError(); }) != "");
  CHECK(changed([](Outcome& o) { o.status = EngineFaultError(); }) != "");
  CHECK(changed([](Outcome& o) {
          o.status = DeadlineError();
          o.deadline = absl::InfiniteFuture();
        }) != "");
  CHECK(changed([](Outcome& o) {
          o.status = CancelledError();
          o.left = true;
          o.ids.pop_back();
        }) == "");
}

TEST_CASE("the stories of a history follow from its seed") {
  ModelLimits limits;
  limits.vocabulary_size = kVocabularySize;
  limits.image_rows = 6;
  limits.stop_ids = {kEndOfText};
  int differ = 0;
  for (int i = 0; i < 50; ++i) {
    const Story story = MakeStory(5, i, limits), again = MakeStory(5, i, limits);
    CHECK(story.request->prompt == again.request->prompt);
    CHECK(story.alone == again.alone);
    CHECK(story.leaves_after == again.leaves_after);
    differ += story.request->prompt != MakeStory(6, i, limits).request->prompt;
  }
  CHECK(differ > 40);
}

}  // namespace
}  // namespace glimpse
