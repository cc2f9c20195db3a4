// The scheduler with a step in flight while it plans the next.
#include <algorithm>
#include <catch2/catch.hpp>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "tests/schedule/death.h"
#include "tests/schedule/recording_sink.h"
#include "tests/schedule/scheduler_fixture.h"

namespace glimpse {
namespace {

struct Fixture : SchedulerFixture {
  explicit Fixture(const ModelLimits& limits = SchedulerLimits(), std::vector<int32_t> script = {})
      : SchedulerFixture(limits, /*depth=*/2, std::move(script)) {}
};

const std::vector<int32_t> kUnknown = {kLastToken};

TEST_CASE("Decoding is planned one step ahead of its tokens") {
  Fixture fixture;
  TestClient& client = fixture.Ask({10, 11, 12}, 4);
  CHECK(fixture.Launch().kind == kPrefill);
  const StepPlan second = fixture.Launch();
  CHECK(second.kind == kDecode);
  REQUIRE(second.num_real_rows == 1);
  CHECK(second.rows[0].tokens == kUnknown);
  CHECK(second.rows[0].positions == std::vector<int32_t>{3});
  CHECK(second.rows[0].kv_length == 3);
  CHECK(second.rows[0].sample_index == 1);
  CHECK(client.ids.empty());
  fixture.Finish();
  CHECK(client.ids.size() == 1);
  const StepPlan third = fixture.Launch();
  CHECK(third.rows[0].tokens == kUnknown);
  CHECK(third.rows[0].kv_length == 4);
  CHECK(third.rows[0].sample_index == 2);
  fixture.RunUntilIdle();
  fixture.CheckAnswers();
}

TEST_CASE("A token that is known when the plan is made is in it") {
  Fixture fixture;
  TestClient& first = fixture.Ask({10}, 9);
  fixture.Step();
  CHECK(fixture.Launch().kind == kDecode);
  fixture.Ask({20, 21}, 3);
  CHECK(fixture.Launch().kind == kPrefill);
  fixture.Finish();
  const StepPlan plan = fixture.Launch();
  REQUIRE(plan.num_real_rows == 2);
  REQUIRE(first.ids.size() == 2);
  CHECK(plan.rows[0].tokens == std::vector<int32_t>{first.ids[1]});
  CHECK(plan.rows[1].tokens == kUnknown);
  fixture.RunUntilIdle();
  fixture.CheckAnswers();
}

TEST_CASE("A sequence that reaches max_tokens with what is in flight is not planned again") {
  Fixture fixture;
  fixture.Ask({10, 11, 12}, 4);
  CHECK(fixture.RunUntilIdle() == std::vector<StepKind>{kPrefill, kDecode, kDecode, kDecode});
  CHECK(fixture.engine.num_steps() == 4);
  fixture.CheckAnswers();
  CHECK(fixture.clients[0].completion.reason == FinishReason::kLength);
}

TEST_CASE("Nothing to plan is no end: what is in flight may be waited for") {
  Fixture fixture;
  TestClient& client = fixture.Ask({10}, 1);
  fixture.Launch();
  CHECK(fixture.Launch().kind == StepKind::kIdle);
  CHECK(fixture.scheduler.num_running() == 1);
  CHECK(client.num_finishes == 0);
  fixture.Ask({20}, 1);
  CHECK(fixture.Launch().kind == kPrefill);
  fixture.Finish();
  CHECK(client.num_finishes == 1);
  CHECK(fixture.Launch().kind == StepKind::kIdle);
  fixture.Finish();
  CHECK(fixture.Launch().kind == StepKind::kIdle);
  fixture.CheckAnswers();
}

TEST_CASE("A request that waits for the room of one in flight comes when that has ended") {
  ModelLimits limits = SchedulerLimits();
  limits.num_blocks = 2;
  Fixture fixture(limits);
  fixture.Ask({1, 2, 3, 4}, 4);
  fixture.Ask({5, 6, 7, 8}, 4);
  CHECK(fixture.RunUntilIdle() == std::vector<StepKind>{kPrefill, kDecode, kDecode, kDecode,
                                                        kPrefill, kDecode, kDecode, kDecode});
  fixture.CheckAnswers();
}

TEST_CASE("A prompt's chunks, a picture and its prompt are planned behind each other") {
  Fixture fixture;
  fixture.AskWithImage(std::vector<int32_t>(30, 7), 2, 100);
  CHECK(fixture.Launch().kind == kVision);
  std::vector<int> kv_lengths;
  for (int i = 0; i < 3; ++i) {
    const StepPlan plan = fixture.Launch();
    CHECK(plan.kind == kPrefill);
    CHECK_FALSE(plan.rows[0].starts);
    kv_lengths.push_back(plan.rows[0].kv_length);
    fixture.Finish();
  }
  CHECK(kv_lengths == std::vector<int>{0, 16, 32});
  CHECK(fixture.RunUntilIdle() == std::vector<StepKind>{kDecode});
  fixture.CheckAnswers();
  CHECK(fixture.clients[0].completion.times.encoded == AtMs(1));
}

TEST_CASE("A stop id is seen one step late, and the step behind it changes nothing") {
  ModelLimits limits = SchedulerLimits();
  limits.stop_ids = {2};
  Fixture fixture(limits, {70, 71});
  TestClient& client = fixture.Ask({10}, 10);
  for (int i = 0; i < 3; ++i) {  // 70, 71, stop
    fixture.Launch();
    if (i == 0) fixture.Launch();
    fixture.Finish();
  }
  CHECK(fixture.engine.num_steps() == 4);
  CHECK(client.num_finishes == 1);
  CHECK(client.ids == std::vector<int32_t>{70, 71});
  CHECK(client.completion.reason == FinishReason::kStop);
  CHECK(client.completion.completion_tokens == 3);
  CHECK(fixture.scheduler.num_running() == 0);
  CHECK(fixture.scheduler.blocks().num_free() == limits.num_blocks);
  CHECK(fixture.Launch().kind == StepKind::kIdle);
  fixture.Finish();
  CHECK(client.num_finishes == 1);
  CHECK(client.calls_after_finish == 0);
  CHECK(client.ids.size() == 2);
}

TEST_CASE("Slot and blocks of a ghost go to the next request while it is in flight") {
  ModelLimits limits = SchedulerLimits();
  limits.max_batch_size = 1;
  limits.num_blocks = 2;
  Fixture fixture(limits);
  TestClient& first = fixture.Ask({1, 2, 3, 4}, 4);
  first.wants_tokens = 2;
  TestClient& second = fixture.Ask({5, 6, 7, 8}, 4);
  fixture.Launch();
  fixture.Launch();
  fixture.Finish();
  const StepPlan ghost = fixture.Launch();
  fixture.Finish();
  REQUIRE(first.num_finishes == 1);
  const StepPlan plan = fixture.Launch();  // the ghost is still in flight
  CHECK(plan.kind == kPrefill);
  CHECK(plan.rows[0].slot == ghost.rows[0].slot);
  CHECK(plan.rows[0].sequence != ghost.rows[0].sequence);
  CHECK(std::count(ghost.rows[0].blocks.begin(), ghost.rows[0].blocks.end(),
                   plan.rows[0].blocks[0]) == 1);
  fixture.Finish();
  CHECK(second.ids.empty());
  fixture.RunUntilIdle();
  CHECK(second.ids == fixture.answers[1]);
  CHECK(second.status.ok());
  CHECK(first.ids.size() == 2);
  CHECK(first.num_finishes == 1);
  CHECK(first.calls_after_finish == 0);
}

TEST_CASE("A step that fails ends its sequences, and their rows behind it are ghosts") {
  Fixture fixture;
  const absl::Status broken = absl::InternalError("broken");
  SECTION("the only sequence") {
    fixture.engine.FailFinish(0, broken);
    TestClient& client = fixture.Ask({1, 2}, 6);
    fixture.Launch();
    fixture.Launch();
    CHECK(fixture.FinishStep() == broken);
    CHECK(client.status == broken);
    CHECK(client.completion.completion_tokens == 0);
    CHECK(fixture.scheduler.blocks().num_free() == fixture.limits.num_blocks);
    fixture.Finish();
    CHECK(client.ids.empty());
    CHECK(client.num_finishes == 1);
  }
  SECTION("one of two sequences in the step behind") {
    TestClient& failing = fixture.Ask({1, 2}, 6);
    fixture.Step();
    fixture.Step();
    TestClient& other = fixture.Ask({3, 4}, 6);
    fixture.engine.FailFinish(3, broken);
    CHECK(fixture.Launch().kind == kPrefill);  // of the other
    CHECK(fixture.Launch().kind == kDecode);   // of both
    fixture.Finish();
    fixture.Ask({5, 6}, 6);
    CHECK(fixture.Launch().kind == kPrefill);  // of the third, behind the step that fails
    CHECK(fixture.FinishStep() == broken);
    CHECK(failing.status == broken);
    CHECK(failing.ids.size() == 2);
    CHECK(other.status == broken);
    CHECK(other.ids.size() == 1);
    fixture.RunUntilIdle();
    CHECK(fixture.clients[2].ids == fixture.answers[2]);
    CHECK(fixture.clients[2].status.ok());
  }
  SECTION("pictures, with their prompts in flight") {
    fixture.engine.FailFinish(0, broken);
    fixture.AskWithImage({1, 2}, 2, 100);
    fixture.AskWithImage({1, 2}, 2, 200);
    CHECK(fixture.Launch().kind == kVision);
    CHECK(fixture.Launch().kind == kPrefill);
    CHECK(fixture.FinishStep() == broken);
    CHECK(fixture.clients[0].status == broken);
    CHECK(fixture.clients[1].status == broken);
    CHECK(fixture.clients[1].completion.times.encoded == absl::InfinitePast());
    fixture.Ask({5, 6}, 6);
    fixture.RunUntilIdle();
    CHECK(fixture.clients[0].ids.empty());
    CHECK(fixture.clients[2].ids == fixture.answers[2]);
  }
  CHECK(fixture.scheduler.num_running() == 0);
  CHECK(fixture.scheduler.blocks().num_free() == fixture.limits.num_blocks);
}

TEST_CASE(
    "A step that does not start ends its sequences after the step before has given its tokens") {
  Fixture fixture;
  fixture.engine.FailLaunch(1, absl::ResourceExhaustedError("out of memory"));
  TestClient& client = fixture.Ask({1, 2}, 6);
  fixture.Launch();
  fixture.Launch();
  fixture.Finish();
  CHECK(client.num_finishes == 0);
  CHECK(fixture.FinishStep() == absl::ResourceExhaustedError("out of memory"));
  CHECK(client.status == absl::ResourceExhaustedError("out of memory"));
  CHECK(client.ids.size() == 1);
  CHECK(client.completion.completion_tokens == 1);
  CHECK(fixture.scheduler.num_running() == 0);
}

TEST_CASE("A client that leaves and one that is late end at the next plan, with steps in flight") {
  Fixture fixture;
  TestClient& ending = fixture.Ask({1, 2}, 10, AtMs(2));
  TestClient& other = fixture.Ask({3, 4}, 5);
  fixture.Launch();
  fixture.Launch();
  fixture.Finish();
  absl::StatusCode code = absl::StatusCode::kCancelled;
  SECTION("left") { ending.gone = true; }
  SECTION("late") {
    fixture.now_ms = 2;
    code = absl::StatusCode::kDeadlineExceeded;
  }
  const StepPlan plan = fixture.Launch();
  CHECK(plan.num_real_rows == 1);
  CHECK(plan.rows[0].sequence == 1);
  CHECK(ending.status.code() == code);
  CHECK(ending.completion.completion_tokens == 1);
  CHECK(fixture.scheduler.num_running() == 1);
  CHECK(fixture.scheduler.blocks().num_free() == fixture.limits.num_blocks - 1);
  fixture.RunUntilIdle();
  CHECK(ending.ids.size() == 1);
  CHECK(ending.num_finishes == 1);
  CHECK(ending.calls_after_finish == 0);
  CHECK(other.ids == fixture.answers[1]);
}

TEST_CASE("AbortAll voids all plans in flight") {
  Fixture fixture;
  TestClient& client = fixture.Ask({1, 2}, 6);
  fixture.Launch();
  fixture.Launch();
  fixture.scheduler.AbortAll(absl::UnavailableError("shutting down"), AtMs(2));
  CHECK(client.status == absl::UnavailableError("shutting down"));
  CHECK(client.num_finishes == 1);
  CHECK(fixture.scheduler.blocks().num_free() == fixture.limits.num_blocks);
  CHECK(fixture.scheduler.Next(AtMs(3)).kind == StepKind::kIdle);
  CHECK(Dies([&] {
    fixture.scheduler.Done(fixture.in_flight[0].first, StepOutput{{SampledToken{}}}, AtMs(3));
  }));
}

TEST_CASE("Plans beyond the depth and outcomes out of order die") {
  CHECK(Dies([] {
    Fixture fixture;
    fixture.Ask({1}, 9);
    for (int i = 0; i < 3; ++i) fixture.scheduler.Next(AtMs(0));
  }));
  CHECK(Dies([] {
    Fixture fixture;
    fixture.Ask({1}, 9);
    fixture.scheduler.Next(AtMs(0));
    const StepPlan second = fixture.scheduler.Next(AtMs(0));
    fixture.scheduler.Done(second, StepOutput{{SampledToken{}}}, AtMs(0));
  }));
  CHECK_FALSE(Dies([] {
    Fixture fixture;
    fixture.Ask({1}, 9);
    const StepPlan first = fixture.scheduler.Next(AtMs(0));
    fixture.scheduler.Next(AtMs(0));
    fixture.scheduler.Done(first, StepOutput{{SampledToken{}}}, AtMs(0));
    fixture.scheduler.AbortAll(absl::UnavailableError("over"), AtMs(0));
  }));
}

// What the clients of twenty random requests got.
std::vector<std::pair<std::vector<int32_t>, FinishReason>> Answers(uint32_t seed, int depth) {
  ModelLimits limits = SchedulerLimits();
  limits.vocabulary_size = 40;
  limits.stop_ids = {1, 2, 3};
  limits.num_blocks = 20;
  SchedulerFixture fixture(limits, depth);
  std::mt19937 random(seed);
  for (int i = 0; i < 20; ++i) {
    std::vector<int32_t> prompt(1 + random() % 20, static_cast<int32_t>(random() % 40));
    TestClient& client = fixture.clients.emplace_back();
    auto request = MakeRequest(&client, std::move(prompt), static_cast<int>(1 + random() % 20));
    if (random() % 3 == 0) AddImage(request.get(), 1, static_cast<uint8_t>(random()));
    if (random() % 4 == 0) client.wants_tokens = static_cast<int>(1 + random() % 9);
    request->sampling.temperature = static_cast<float>(random() % 2);
    request->sampling.seed = random();
    request->sampling.repetition_penalty = random() % 2 == 0 ? 1.0f : 1.2f;
    fixture.Push(std::move(request));
  }
  fixture.RunUntilIdle();
  std::vector<std::pair<std::vector<int32_t>, FinishReason>> answers;
  for (const TestClient& client : fixture.clients) {
    CHECK(client.status == absl::OkStatus());
    CHECK(client.num_finishes == 1);
    answers.emplace_back(client.ids, client.completion.reason);
  }
  return answers;
}

TEST_CASE("The same requests get the same answers whatever the depth") {
  for (uint32_t seed = 0; seed < 50; ++seed) {
    INFO("seed " << seed);
    const auto answers = Answers(seed, 1);
    CHECK(Answers(seed, 2) == answers);
    CHECK(Answers(seed, 3) == answers);
  }
}

}  // namespace
}  // namespace glimpse
