// KV blocks on demand, and what happens when there are none.
#include <algorithm>
#include <catch2/catch.hpp>
#include <set>
#include <vector>

#include "preprocess/fail_point.h"
#include "tests/schedule/recording_sink.h"
#include "tests/schedule/scheduler_fixture.h"

namespace glimpse {
namespace {

// Blocks of 4 rows, and no more at an admission than the prompt and a token take.
SchedulerOptions Options(int num_blocks, int depth = 1, int kv_lookahead_tokens = 0) {
  ModelLimits limits = SchedulerLimits();
  limits.num_blocks = num_blocks;
  SchedulerOptions options = FixtureOptions(limits, depth);
  options.kv_lookahead_tokens = kv_lookahead_tokens;
  return options;
}

int Preemptions(const SchedulerFixture& fixture) {
  return static_cast<int>(fixture.scheduler.load().preemptions);
}

TEST_CASE("Blocks are taken for the prompt and a token, and then as the answer grows") {
  SchedulerFixture fixture(Options(/*num_blocks=*/10));
  fixture.Ask({1, 2, 3}, 9);
  std::vector<int> live;
  while (fixture.Step().kind != StepKind::kIdle) {
    live.push_back(fixture.scheduler.load().kv_blocks_live);
  }
  CHECK(live == std::vector<int>{1, 1, 2, 2, 2, 2, 3, 3, 0});
  CHECK(Preemptions(fixture) == 0);
  fixture.CheckAnswers();
}

TEST_CASE("When no block is free the youngest gives up its own and comes back after") {
  const int depth = GENERATE(1, 2, 3);
  SchedulerFixture fixture(Options(/*num_blocks=*/4, depth));
  fixture.Ask({1, 2, 3}, 12);  // 4 blocks in the end
  fixture.Ask({4, 5, 6}, 12);
  fixture.RunUntilIdle();
  CHECK(Preemptions(fixture) >= 1);
  fixture.CheckAnswers();
  CHECK(fixture.clients[0].completion.times.finished <
        fixture.clients[1].completion.times.finished);
}

TEST_CASE("A restart feeds prompt and answer again and goes on with the next draw") {
  SchedulerFixture fixture(Options(/*num_blocks=*/2));
  fixture.Ask({1, 2, 3}, 5);
  TestClient& client = fixture.clients.emplace_back();
  auto request = MakeRequest(&client, {4, 5, 6}, 5);
  request->sampling.temperature = 1;
  request->sampling.seed = 77;
  request->sampling.repetition_penalty = 1.3f;
  fixture.Push(std::move(request));

  CHECK(fixture.Step().num_real_rows == 2);  // both prompts
  CHECK(fixture.Step().num_real_rows == 2);  // one more row each: their blocks are full
  const StepPlan decode = fixture.Step();
  REQUIRE(decode.num_real_rows == 1);
  CHECK(decode.rows[0].sequence == 0);
  CHECK(Preemptions(fixture) == 1);
  CHECK(fixture.scheduler.load().waiting == 1);
  REQUIRE(client.ids.size() == 2);
  const std::vector<int32_t> known = {4, 5, 6, client.ids[0], client.ids[1]};

  StepPlan plan;
  do plan = fixture.Step();
  while (plan.kind == kDecode);
  REQUIRE(plan.kind == kPrefill);
  const StepRow& row = plan.rows[0];
  CHECK(row.sequence == 2);
  CHECK(row.starts);
  CHECK(row.tokens == known);
  CHECK(row.positions == std::vector<int32_t>{0, 1, 2, 3, 4});
  CHECK(row.kv_length == 0);
  CHECK(row.samples);
  CHECK(row.sample_index == 2);
  CHECK(fixture.scheduler.load().waiting == 0);
  fixture.RunUntilIdle();
  fixture.CheckAnswers();
  CHECK(client.completion.completion_tokens == 5);
}

TEST_CASE("Stage times are of the first run, whatever a restart repeats") {
  SchedulerFixture fixture(Options(/*num_blocks=*/6));
  fixture.Ask({1, 2, 3}, 20);
  fixture.AskWithImage({4, 5}, 9, 100);  // 8 rows of prompt
  fixture.RunUntilIdle();
  REQUIRE(Preemptions(fixture) >= 1);
  fixture.CheckAnswers();
  const StageTimes& times = fixture.clients[1].completion.times;
  CHECK(times.admitted == AtMs(0));
  CHECK(times.encoded == AtMs(3));
  CHECK(times.first_token == AtMs(5));
}

TEST_CASE("Tokens in flight of a preempted sequence count, and may end it") {
  ModelLimits limits = SchedulerLimits();
  limits.num_blocks = 2;
  limits.stop_ids = {2};
  SchedulerOptions options = FixtureOptions(limits, /*depth=*/2);
  options.kv_lookahead_tokens = 0;
  // Both answers are 70, 71 and the stop id, whose step is in flight when the second one's block is
  // taken.
  SchedulerFixture fixture(options, {70, 71});
  TestClient& first = fixture.Ask({1, 2, 3}, 5);
  TestClient& second = fixture.Ask({4, 5}, 6);
  fixture.Launch();
  fixture.Launch();
  fixture.Finish();
  fixture.Launch();  // the first one's second block
  CHECK(Preemptions(fixture) == 1);
  CHECK(fixture.scheduler.num_running() == 1);
  CHECK(second.ids == std::vector<int32_t>{70});
  fixture.Finish();
  CHECK(second.ids == std::vector<int32_t>{70, 71});
  fixture.Finish();
  CHECK(first.finished());
  CHECK_FALSE(second.finished());
  fixture.RunUntilIdle();
  for (const TestClient* client : {&first, &second}) {
    CHECK(client->ids == std::vector<int32_t>{70, 71});
    CHECK(client->num_finishes == 1);
    CHECK(client->completion.reason == FinishReason::kStop);
  }
  CHECK(fixture.scheduler.load().kv_blocks_live == 0);
}

TEST_CASE("A step that fails ends its sequences also if they were preempted since") {
  SchedulerFixture fixture(Options(/*num_blocks=*/2, /*depth=*/2));
  fixture.engine.FailFinish(1, absl::InternalError("broken"));
  fixture.Ask({1, 2, 3}, 5);
  fixture.Ask({4, 5, 6}, 5);
  fixture.Launch();
  fixture.Launch();  // the decode step that fails
  fixture.Finish();
  fixture.Launch();
  REQUIRE(Preemptions(fixture) == 1);
  CHECK(fixture.FinishStep() == absl::InternalError("broken"));
  CHECK(fixture.clients[0].status == absl::InternalError("broken"));
  CHECK(fixture.clients[1].status == absl::InternalError("broken"));
  fixture.RunUntilIdle();
  CHECK(fixture.scheduler.empty());
  CHECK(fixture.clients[1].num_finishes == 1);
}

// Two sequences of which the second is preempted; the first has several steps left.
struct PreemptedFixture : SchedulerFixture {
  PreemptedFixture() : SchedulerFixture(Options(/*num_blocks=*/4)) {
    Ask({1, 2, 3}, 12);
    Ask({4, 5, 6}, 12, AtMs(100));
    while (scheduler.load().preemptions == 0) Step();
  }
};

TEST_CASE("Who leaves or expires while preempted ends at the next step") {
  PreemptedFixture fixture;
  TestClient& client = fixture.clients[1];
  absl::StatusCode code = absl::StatusCode::kCancelled;
  SECTION("left") { client.gone = true; }
  SECTION("expired") {
    fixture.now_ms = 100;
    code = absl::StatusCode::kDeadlineExceeded;
  }
  fixture.Step();
  CHECK(client.status.code() == code);
  CHECK(client.completion.completion_tokens == static_cast<int>(client.ids.size()));
  CHECK(fixture.scheduler.load().waiting == 0);
  fixture.RunUntilIdle();
  CHECK(client.num_finishes == 1);
  CHECK(client.calls_after_finish == 0);
  CHECK(fixture.clients[0].ids == fixture.answers[0]);
}

TEST_CASE("Who ends while preempted has stayed too, which auto's batch size goes by") {
  SchedulerOptions options = Options(/*num_blocks=*/4);
  options.limits.max_batch_size = 16;
  SchedulerFixture fixture(options);
  fixture.Ask({1, 2, 3}, 12);
  fixture.Ask({4, 5, 6}, 12);
  while (Preemptions(fixture) == 0) fixture.Step();
  for (int i = 0; i < 14; ++i) fixture.Ask({7}, 1);
  for (size_t i = 1; i < fixture.clients.size(); ++i) fixture.clients[i].gone = true;
  fixture.queue.Wake();
  fixture.now_ms = 10000;
  fixture.Step();
  REQUIRE(fixture.scheduler.load().waiting == 0);
  REQUIRE_FALSE(fixture.clients[0].finished());
  // 16 arrivals in 10 s, each worth 1 / (10 s) x exp(-0 .. -1) by now, and a stay of 10 s.
  CHECK(fixture.scheduler.load().targets.batch_size > 4);
}

TEST_CASE("AbortAll ends the preempted too") {
  PreemptedFixture fixture;
  fixture.scheduler.AbortAll(absl::UnavailableError("over"), AtMs(50));
  CHECK(fixture.clients[1].status == absl::UnavailableError("over"));
  CHECK(fixture.clients[1].num_finishes == 1);
  CHECK(fixture.scheduler.empty());
}

TEST_CASE("Nobody overtakes who was preempted") {
  PreemptedFixture fixture;
  fixture.Ask({7}, 1);
  fixture.Ask({8}, 1);
  fixture.RunUntilIdle();
  fixture.CheckAnswers();
  CHECK(fixture.clients[2].completion.times.admitted >=
        fixture.clients[0].completion.times.finished);
}

TEST_CASE("Those that were preempted come back in the order in which they came") {
  const int depth = GENERATE(1, 2);
  SchedulerOptions options = Options(/*num_blocks=*/5, depth);
  options.limits.max_batch_size = 5;
  SchedulerFixture fixture(options);
  for (int i = 0; i < 5; ++i) fixture.Ask({i, 1, 2}, 17);  // 5 blocks each in the end
  fixture.RunUntilIdle();
  CHECK(Preemptions(fixture) >= 4);
  fixture.CheckAnswers();
  for (int i = 1; i < 5; ++i) {
    CHECK(fixture.clients[i - 1].completion.times.finished <
          fixture.clients[i].completion.times.finished);
  }
}

TEST_CASE("An admission leaves free what those that run need soon") {
  SchedulerFixture fixture(Options(/*num_blocks=*/6, /*depth=*/1, /*kv_lookahead_tokens=*/8));
  fixture.Ask({1, 2, 3, 4}, 12);  // 2 blocks now, 3 within 8 tokens, 4 in the end
  fixture.Ask({5, 6, 7, 8}, 12);  // the same: 6 blocks altogether
  fixture.Ask({9}, 1);            // one more
  fixture.Step();
  CHECK(fixture.scheduler.num_running() == 2);
  CHECK(fixture.scheduler.load().kv_blocks_free == 2);
  CHECK(fixture.queue.depth().requests == 1);
  fixture.RunUntilIdle();
  fixture.CheckAnswers();
}

TEST_CASE("Who waits for blocks does not pass the fail point of admission") {
  if (!HasFailPoints()) return;  // not in this build
  SchedulerFixture fixture(Options(/*num_blocks=*/4));
  fixture.Ask({1, 2, 3}, 12);
  fixture.Step();
  REQUIRE(SetFailPoints("admission=error(1)", /*seed=*/1).ok());
  TestClient& client = fixture.Ask(std::vector<int32_t>(13, 7), 1);  // all four blocks
  while (!fixture.clients[0].finished()) {
    CHECK_FALSE(client.finished());
    fixture.Step();
  }
  fixture.Step();
  REQUIRE(SetFailPoints("", /*seed=*/1).ok());
  CHECK(client.status.code() == absl::StatusCode::kInternal);
  CHECK(fixture.scheduler.load().kv_blocks_live == 0);
}

TEST_CASE("A pool that holds all answers preempts nobody") {
  SchedulerFixture fixture(Options(/*num_blocks=*/16));
  for (int i = 0; i < 12; ++i) fixture.Ask({i, 2, 3}, 13);
  fixture.RunUntilIdle();
  CHECK(Preemptions(fixture) == 0);
  fixture.CheckAnswers();
}

// What eight clients get, half of them with a picture, half of them sampled.
std::vector<std::vector<int32_t>> AnswersOfEight(const SchedulerOptions& options,
                                                 int64_t* preemptions) {
  SchedulerFixture fixture(options);
  for (int i = 0; i < 8; ++i) {
    TestClient& client = fixture.clients.emplace_back();
    auto request = MakeRequest(&client, {10 + i, 3, 4, 5}, 30 + i);
    if (i % 2 == 1) AddImage(request.get(), 1, static_cast<uint8_t>(20 * i));
    request->sampling.temperature = i % 4 < 2 ? 0.0f : 1.0f;
    request->sampling.repetition_penalty = i % 3 == 0 ? 1.2f : 1.0f;
    request->sampling.seed = static_cast<uint64_t>(i);
    fixture.Push(std::move(request));
  }
  fixture.RunUntilIdle();
  fixture.CheckAnswers();
  *preemptions = fixture.scheduler.load().preemptions;
  std::vector<std::vector<int32_t>> answers;
  for (const TestClient& client : fixture.clients) answers.push_back(client.ids);
  return answers;
}

TEST_CASE("A pool for two of eight sequences gives all eight their text") {
  const int depth = GENERATE(1, 2, 3);
  const int lookahead = GENERATE(0, 3, 64);
  int64_t preemptions = 0;
  SchedulerOptions options = Options(/*num_blocks=*/200, depth, lookahead);
  options.limits.max_batch_size = 8;
  const auto unpressed = AnswersOfEight(options, &preemptions);
  CHECK(preemptions == 0);
  options.limits.num_blocks = 24;  // the largest takes 12
  CHECK(AnswersOfEight(options, &preemptions) == unpressed);
  CHECK((preemptions > 0) == (lookahead < 64));
}

}  // namespace
}  // namespace glimpse
