// How prompts and pictures are cut, and in which order the parts run.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "tests/schedule/recording_sink.h"
#include "tests/schedule/scheduler_fixture.h"

namespace glimpse {
namespace {

ModelLimits LargeLimits() {
  ModelLimits limits;
  limits.vocabulary_size = 100000;
  limits.max_context = 8192;
  limits.image_rows = 200;
  limits.vision_layers = 60;
  limits.max_batch_size = 8;
  limits.block_size = 16;
  limits.num_blocks = 4096;
  return limits;
}

// Decoding takes 5 ms, a layer 2 ms for each picture of the group, also for those that left, a
// prompt 5 ms and one more for each 32 tokens.
int64_t StepMs(const StepPlan& plan) {
  switch (plan.kind) {
    case StepKind::kVision:
      return 2 * plan.bucket * (plan.end_layer - plan.first_layer);
    case StepKind::kPrefill:
      return 5 + plan.bucket / 32;
    default:
      return 5;
  }
}

struct Fixture : SchedulerFixture {
  explicit Fixture(const SchedulerOptions& options) : SchedulerFixture(options) {
    step_ms = StepMs;
  }
  explicit Fixture(BatchPolicyKind policy = BatchPolicyKind::kAuto, int depth = 1)
      : Fixture(Options(policy, depth)) {}
  static SchedulerOptions Options(BatchPolicyKind policy, int depth) {
    SchedulerOptions options{LargeLimits(), BucketTable(), 2048, 2, depth};
    options.policy = policy;
    return options;
  }
  static std::vector<int32_t> Prompt(int length) { return std::vector<int32_t>(length, 7); }
  void Run(int steps) {
    for (int i = 0; i < steps; ++i) Step();
  }
  // The costs of all kinds are known, and one sequence decodes for a long time.
  void Learn() {
    AskWithImage(Prompt(400), 2, 10);
    Step();
    now_ms += 50;  // offline waits for company
    RunUntilIdle();
    Ask({1, 2}, 4000);
    Step();
    now_ms += 50;
    Run(20);
  }
};

TEST_CASE("Where nobody decodes, prompts and pictures run whole") {
  Fixture fixture;
  fixture.AskWithImage(Fixture::Prompt(1000), 1, 10);
  const StepPlan vision = fixture.Step();
  CHECK(vision.kind == kVision);
  CHECK(vision.first_layer == 0);
  CHECK(vision.end_layer == 60);
  CHECK(fixture.report.starts_pictures);
  CHECK(fixture.report.ends_pictures);
  CHECK(fixture.Step().NumTokens() == 1200);
  fixture.CheckAnswers();
}

TEST_CASE("Where nobody decodes, no step is planned that would take more than 100 ms") {
  Fixture fixture;
  fixture.Learn();
  fixture.clients[1].gone = true;
  fixture.Step();
  fixture.AskWithImage({1, 2}, 1, 10);
  fixture.AskWithImage({1, 2}, 1, 20);  // 4 ms a layer, 240 ms in all
  std::vector<int> layers;
  for (StepPlan plan = fixture.Step(); plan.kind == kVision; plan = fixture.Step()) {
    layers.push_back(plan.end_layer - plan.first_layer);
  }
  CHECK(layers == std::vector<int>{20, 20, 20});
}

TEST_CASE("Beside decoding, a picture is cut into equal slices within the stall budget") {
  const auto [policy, slices] = GENERATE(table<BatchPolicyKind, int>({
      {BatchPolicyKind::kRealtime, 15},  // 8 ms: 4 layers
      {BatchPolicyKind::kBalanced, 9},   // 15 ms: 7 layers, 9 slices
      {BatchPolicyKind::kAuto, 9},
      {BatchPolicyKind::kOffline, 2},  // 100 ms: 50 layers, 2 slices
  }));
  Fixture fixture(policy);
  fixture.Learn();
  fixture.AskWithImage({1, 2}, 1, 10);
  std::vector<StepPlan> vision;
  std::vector<StepKind> kinds;
  int starts = 0, ends = 0;
  while (!fixture.clients.back().finished()) {
    const StepPlan plan = fixture.Step();
    kinds.push_back(plan.kind);
    if (plan.kind != kVision) continue;
    CHECK(fixture.report.duration == absl::Milliseconds(StepMs(plan)));
    starts += fixture.report.starts_pictures;
    ends += fixture.report.ends_pictures;
    vision.push_back(plan);
  }
  REQUIRE(static_cast<int>(vision.size()) == slices);
  int layer = 0;
  for (const StepPlan& plan : vision) {
    CHECK(plan.first_layer == layer);
    CHECK(std::abs(plan.end_layer - layer - 60 / slices) <= 1);
    CHECK(plan.rows[0].starts == (layer == 0));
    layer = plan.end_layer;
  }
  CHECK(layer == 60);
  CHECK(starts == 1);
  CHECK(ends == 1);
  for (size_t i = 1; i < kinds.size(); ++i)
    CHECK((kinds[i - 1] == kDecode) != (kinds[i] == kDecode));
}

TEST_CASE("Beside decoding, a prompt is cut into buckets within the stall budget") {
  const auto [policy, room, tokens] = GENERATE(table<BatchPolicyKind, int, int>({
      {BatchPolicyKind::kRealtime, 96, 64},  // within 8 ms
      {BatchPolicyKind::kAuto, 320, 256},    // within 15 ms
  }));
  Fixture fixture(policy);
  fixture.Learn();
  fixture.Ask(Fixture::Prompt(1024 + 30), 1);
  std::vector<int> chunks;
  while (!fixture.clients.back().finished()) {
    const StepPlan plan = fixture.Step();
    if (plan.kind == kPrefill) chunks.push_back(plan.NumTokens());
  }
  REQUIRE(chunks.size() >= 2);
  CHECK(chunks.back() <= room);  // the rest is not cut
  chunks.pop_back();
  CHECK(std::count(chunks.begin(), chunks.end(), tokens) == static_cast<int>(chunks.size()));
}

TEST_CASE("However slow the device, a step goes on by a layer or by 64 tokens") {
  SchedulerOptions options = Fixture::Options(BatchPolicyKind::kAuto, /*depth=*/1);
  SECTION("64 are a bucket") {}
  SECTION("the next bucket below is smaller") { options.buckets = BucketTable({4}, {48, 128}); }
  Fixture fixture(options);
  fixture.step_ms = [](const StepPlan& plan) { return 1000 * StepMs(plan); };
  fixture.Learn();
  fixture.AskWithImage(Fixture::Prompt(128), 1, 10);
  while (!fixture.clients.back().finished()) {
    const StepPlan plan = fixture.Step();
    if (plan.kind == kVision) CHECK(plan.end_layer == plan.first_layer + 1);
    if (plan.kind == kPrefill) CHECK((plan.NumTokens() == 64 || plan.rows[0].samples));
  }
  CHECK(fixture.clients.back().status.ok());
}

TEST_CASE("A picture that comes while another is encoded waits for its own group") {
  Fixture fixture;
  fixture.Learn();
  fixture.AskWithImage({1, 2}, 1, 10);
  fixture.Run(6);
  fixture.AskWithImage({1, 2}, 1, 20);
  fixture.AskWithImage({1, 2}, 1, 30);
  std::vector<int> groups;
  while (!fixture.clients.back().finished()) {
    const StepPlan plan = fixture.Step();
    if (plan.kind == kVision && plan.end_layer == 60) groups.push_back(plan.num_real_rows);
  }
  CHECK(groups == std::vector<int>{1, 2});
  CHECK(fixture.clients[2].ids == fixture.answers[2]);
  CHECK(fixture.clients[3].ids == fixture.answers[3]);
  CHECK(fixture.clients[4].ids == fixture.answers[4]);
}

TEST_CASE("Who leaves in the middle of a picture is out at the next step, and the others go on") {
  const int depth = GENERATE(1, 2);
  Fixture fixture(BatchPolicyKind::kAuto, depth);
  fixture.Learn();
  TestClient& leaving = fixture.AskWithImage({1, 2}, 1, 10);
  SECTION("one of two") {
    TestClient& other = fixture.AskWithImage({1, 2}, 1, 20);
    fixture.Run(7);
    leaving.gone = true;
    fixture.Step();
    CHECK(leaving.num_finishes == 1);
    CHECK(fixture.scheduler.num_running() == 2);
    while (!other.finished()) fixture.Step();
    CHECK(other.ids == fixture.answers.back());
  }
  SECTION("the only one, and the next picture starts at layer 0") {
    fixture.Run(7);
    leaving.gone = true;
    TestClient& other = fixture.AskWithImage({1, 2}, 1, 20);
    std::vector<int> first_layers;
    while (!other.finished()) {
      const StepPlan plan = fixture.Step();
      if (plan.kind == kVision) first_layers.push_back(plan.first_layer);
    }
    CHECK(first_layers.front() == 0);
    CHECK(std::is_sorted(first_layers.begin(), first_layers.end()));
    CHECK(other.ids == fixture.answers.back());
  }
  CHECK(leaving.status.code() == absl::StatusCode::kCancelled);
  CHECK(leaving.ids.empty());
}

TEST_CASE("Who leaves makes the slices of its group no larger, since it is computed to the end") {
  const int depth = GENERATE(1, 2);
  Fixture fixture(BatchPolicyKind::kAuto, depth);
  fixture.Learn();
  TestClient& leaving = fixture.AskWithImage({1, 2}, 1, 10);
  TestClient& staying = fixture.AskWithImage({1, 2}, 1, 20);
  int slices_alone = 0;
  for (int vision = 0; !staying.finished();) {
    const StepPlan plan = fixture.Step();
    if (plan.kind != kVision) continue;
    leaving.gone = ++vision >= 5;
    slices_alone += plan.num_real_rows == 1;
    CHECK(plan.bucket == 2);
    CHECK(plan.end_layer - plan.first_layer == 3);  // 12 ms of 15
    CHECK(fixture.report.bucket == 2);
  }
  CHECK(slices_alone == 15);
  CHECK(staying.status == absl::OkStatus());
  CHECK(staying.ids == fixture.answers.back());
  // Nor are those of the next group: what a layer costs was learnt by the size of the group.
  TestClient& next = fixture.AskWithImage({1, 2}, 1, 30);
  while (!next.finished()) {
    const StepPlan plan = fixture.Step();
    if (plan.kind == kVision) CHECK(plan.end_layer - plan.first_layer <= 7);
  }
  CHECK(next.ids == fixture.answers.back());
}

TEST_CASE("A failed slice ends its pictures, and the next group starts anew") {
  Fixture fixture(BatchPolicyKind::kAuto, /*depth=*/2);
  fixture.Learn();
  fixture.AskWithImage({1, 2}, 1, 10);
  fixture.Run(7);
  const int64_t next = fixture.engine.num_steps();
  fixture.engine.FailFinish(next, absl::InternalError("broken"));
  fixture.engine.FailFinish(next + 1, absl::InternalError("broken"));  // one of them is vision
  TestClient& other = fixture.AskWithImage({1, 2}, 3, 20);
  for (int i = 0; i < 100 && !other.finished(); ++i) fixture.Step();
  CHECK(fixture.clients[2].status == absl::InternalError("broken"));
  CHECK(other.status.ok());
  CHECK(other.ids == fixture.answers.back());
}

TEST_CASE("A step ends within 15 ms of the next deadline of all") {
  Fixture fixture;
  fixture.Learn();
  fixture.clients[1].gone = true;
  fixture.Step();
  const int64_t deadline = fixture.now_ms + 50;
  // Each picture takes 120 ms, and none decodes before it.
  const auto ask = [&](absl::Time by) {
    auto request = MakeRequest(&fixture.clients.emplace_back(), {1, 2}, 1);
    AddImage(request.get(), 1, 10);
    request->deadline = by;
    fixture.Push(std::move(request));
  };
  SECTION("of one that waits for a slot") {
    for (int i = 0; i < 8; ++i) ask(absl::InfiniteFuture());
    ask(AtMs(deadline));
  }
  SECTION("of one that runs") {
    ask(absl::InfiniteFuture());
    ask(AtMs(deadline));
  }
  TestClient& late = fixture.clients.back();
  while (!late.finished()) fixture.Step();
  CHECK(late.status.code() == absl::StatusCode::kDeadlineExceeded);
  CHECK(late.completion.times.finished >= AtMs(deadline));
  CHECK(late.completion.times.finished <= AtMs(deadline + 15));
}

// New requests keep coming: the law is that each gets its first token in a number of steps that
// depends on what runs, not on what comes after it.
int LongestWaitForFirstToken(bool with_pictures, bool with_prompts, int num_steps) {
  Fixture fixture;
  fixture.Learn();
  int longest = 0, decodes = 0;
  std::map<TestClient*, int> waiting;  // running steps of those that have a slot
  for (int step = 0; step < num_steps; ++step) {
    if (fixture.queue.depth().requests == 0) {
      const bool picture = with_pictures && (!with_prompts || step % 2 == 0);
      TestClient& client =
          picture ? fixture.AskWithImage({1, 2}, 3, 10) : fixture.Ask(Fixture::Prompt(1500), 3);
      waiting[&client] = 0;
    }
    const StepKind before = step == 0 ? kDecode : fixture.report.kind;
    fixture.Step();
    if (before != kDecode) CHECK(fixture.report.kind == kDecode);
    decodes += fixture.report.kind == kDecode;
    for (auto entry = waiting.begin(); entry != waiting.end();) {
      if (!entry->first->ids.empty()) {
        longest = std::max(longest, entry->second);
        entry = waiting.erase(entry);
      } else {
        ++(entry++)->second;
      }
    }
  }
  CHECK(decodes >= num_steps / 2);
  for (const auto& [client, steps] : waiting) longest = std::max(longest, steps);
  return longest;
}

TEST_CASE("Nobody starves under a stream of long prompts, of pictures, or of both") {
  // At most 8 run, one of which decodes. A prompt takes 6 chunks; two pictures take 20 slices and
  // their prompts less than two chunks. Every second step is a decode step, and where both kinds
  // wait, one of ten at least is of the kind.
  CHECK(LongestWaitForFirstToken(false, true, 600) <= 2 * 8 * 6);
  CHECK(LongestWaitForFirstToken(true, false, 1200) <= 2 * 4 * 22 * 5 / 4);
  CHECK(LongestWaitForFirstToken(true, true, 4000) <= 10 * (4 * 22 + 8 * 6));
}

TEST_CASE("A short prompt does not wait for all pictures before it") {
  Fixture fixture;
  fixture.Learn();
  for (int i = 0; i < 4; ++i) fixture.AskWithImage({1, 2}, 1, static_cast<uint8_t>(i));
  TestClient& text = fixture.Ask({1, 2, 3}, 1);
  int steps = 0;
  for (; !text.finished(); ++steps) fixture.Step();
  CHECK(steps <= 2 * (Scheduler::kTurnsOfOldest + 1));
}

}  // namespace
}  // namespace glimpse
