#include "engine/schedule/scheduler.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "tests/schedule/death.h"
#include "tests/schedule/recording_sink.h"
#include "tests/schedule/scheduler_fixture.h"

namespace glimpse {
namespace {

using Fixture = SchedulerFixture;

TEST_CASE("One request runs from prompt to max_tokens") {
  Fixture fixture;
  CHECK(fixture.Step().kind == StepKind::kIdle);
  const TestClient& client = fixture.Ask({10, 11, 12}, 3);
  CHECK(fixture.RunUntilIdle() == std::vector<StepKind>{kPrefill, kDecode, kDecode});
  fixture.CheckAnswers();
  CHECK(client.completion.reason == FinishReason::kLength);
  CHECK(client.completion.completion_tokens == 3);
}

TEST_CASE("Stage times are the times of the steps") {
  Fixture fixture;
  auto request = MakeRequest(&fixture.clients.emplace_back(), {10, 11}, 2);
  AddImage(request.get(), 0, 5);
  request->times.arrived = AtMs(-9);
  request->times.enqueued = AtMs(-4);
  fixture.Push(std::move(request));
  fixture.RunUntilIdle();
  const StageTimes& times = fixture.clients[0].completion.times;
  CHECK(times.arrived == AtMs(-9));
  CHECK(times.enqueued == AtMs(-4));
  CHECK(times.admitted == AtMs(0));
  CHECK(times.encoded == AtMs(1));
  CHECK(times.first_token == AtMs(2));
  CHECK(times.finished == AtMs(3));
}

TEST_CASE("Decoding rows are padded to the bucket with empty rows") {
  Fixture fixture;
  for (int i = 0; i < 3; ++i) fixture.Ask({10 + i}, 3);
  fixture.Step();
  const StepPlan plan = fixture.Step();
  CHECK(plan.kind == kDecode);
  CHECK(plan.num_real_rows == 3);
  CHECK(plan.bucket == 4);
  REQUIRE(plan.rows.size() == 4);
  CHECK(plan.rows[3].slot == -1);
  CHECK(plan.rows[3].tokens == std::vector<int32_t>{0});
  CHECK(plan.rows[3].positions == std::vector<int32_t>{0});
  CHECK(plan.rows[3].kv_length == 0);
  CHECK(plan.rows[3].blocks.empty());
  CHECK_FALSE(plan.rows[3].samples);
  fixture.RunUntilIdle();
  fixture.CheckAnswers();
}

TEST_CASE("Prompts are packed into one prefill step and long ones take several") {
  Fixture fixture;
  fixture.Ask({1, 2, 3, 4, 5}, 2);
  fixture.Ask(std::vector<int32_t>(20, 7), 2);
  fixture.Ask({8, 9}, 2);
  const StepPlan first = fixture.Step();
  CHECK(first.kind == kPrefill);
  CHECK(first.bucket == 16);
  REQUIRE(first.num_real_rows == 2);
  CHECK(first.rows[0].tokens.size() == 5);
  CHECK(first.rows[0].samples);
  CHECK(first.rows[1].tokens.size() == 11);
  CHECK_FALSE(first.rows[1].samples);
  CHECK(fixture.Step().kind == kDecode);  // the first request does not wait for the others' prompts
  const StepPlan third = fixture.Step();
  REQUIRE(third.num_real_rows == 2);
  CHECK(third.rows[0].tokens.size() == 9);
  CHECK(third.rows[0].kv_length == 11);
  CHECK(third.rows[0].samples);
  CHECK(third.rows[1].tokens.size() == 2);
  CHECK(third.rows[1].samples);
  CHECK(fixture.RunUntilIdle() == std::vector<StepKind>{kDecode});
  fixture.CheckAnswers();
}

TEST_CASE("A prefill of fewer tokens than a bucket names the bucket") {
  Fixture fixture;
  fixture.Ask({1, 2, 3}, 1);
  CHECK(fixture.Step().bucket == 8);
}

TEST_CASE("Pictures that wait are encoded together, and decoding goes on between") {
  Fixture fixture;
  fixture.Ask({10}, 8);
  fixture.Step();
  for (uint8_t shade : {100, 150, 200}) fixture.AskWithImage({11, 12}, 2, shade);
  const StepPlan decode = fixture.Step();
  CHECK(decode.kind == kDecode);
  const StepPlan vision = fixture.Step();
  CHECK(vision.kind == kVision);
  CHECK(vision.bucket == 2);
  CHECK(vision.num_real_rows == 2);
  REQUIRE(vision.rows.size() == 2);
  CHECK(vision.rows[0].sequence == 1);
  CHECK(vision.rows[1].sequence == 2);
  CHECK(vision.rows[0].starts);
  CHECK(vision.rows[1].starts);
  CHECK(fixture.RunUntilIdle() == std::vector<StepKind>{kDecode, kPrefill, kDecode, kVision,
                                                        kDecode, kPrefill, kDecode, kDecode,
                                                        kDecode});
  fixture.CheckAnswers();
  CHECK(fixture.clients[1].completion.times.encoded == AtMs(3));
  CHECK(fixture.clients[2].completion.times.encoded == AtMs(3));
  CHECK(fixture.clients[1].ids != fixture.clients[2].ids);  // only the pictures differ
  CHECK(fixture.clients[2].ids != fixture.clients[3].ids);
}

TEST_CASE("Pictures are encoded together although a prompt lies between them") {
  Fixture fixture;
  fixture.AskWithImage({11, 12}, 2, 100);
  fixture.Ask({10}, 2);
  fixture.AskWithImage({11, 12}, 2, 200);
  const StepPlan vision = fixture.Step();
  REQUIRE(vision.num_real_rows == 2);
  CHECK(vision.rows[1].sequence == 2);
  CHECK(fixture.Step().num_real_rows == 3);  // 8 tokens, 1, and 7 of the third's 8
  fixture.RunUntilIdle();
  fixture.CheckAnswers();
}

TEST_CASE("A steady stream of new prompts leaves every second step to decoding") {
  Fixture fixture;
  fixture.Ask({10}, 20);
  fixture.Step();
  int decodes = 0;
  for (int i = 0; i < 20; ++i) {
    fixture.Ask(std::vector<int32_t>(15, i), 1);
    decodes += fixture.Step().kind == kDecode;
  }
  CHECK(decodes == 10);
  fixture.RunUntilIdle();
  fixture.CheckAnswers();
}

TEST_CASE("Requests join and leave a running batch and a freed slot is used again") {
  Fixture fixture;
  for (int i = 0; i < 10; ++i) fixture.Ask({20 + i, 3, 4}, 1 + i % 5);
  int most = 0;
  while (fixture.Step().kind != StepKind::kIdle) {
    most = std::max(most, fixture.scheduler.num_running());
  }
  CHECK(most <= 4);
  fixture.CheckAnswers();
}

TEST_CASE("A request waits for its blocks and nobody overtakes it") {
  ModelLimits limits = SchedulerLimits();
  limits.num_blocks = 4;
  Fixture fixture(limits);
  fixture.Ask({1, 2, 3, 4}, 4);        // 2 blocks
  fixture.Ask({1, 2, 3, 4, 5, 6}, 6);  // 3 blocks: has to wait for the first
  fixture.Ask({9}, 1);                 // 1 block would be free
  fixture.Step();
  CHECK(fixture.scheduler.num_running() == 1);
  CHECK(fixture.scheduler.blocks().num_free() == 2);
  CHECK(fixture.queue.depth().requests == 2);
  fixture.RunUntilIdle();
  fixture.CheckAnswers();
  CHECK(fixture.clients[2].completion.times.admitted >=
        fixture.clients[1].completion.times.admitted);
}

TEST_CASE("A request that can never fit is refused, and those behind it run") {
  ModelLimits limits = SchedulerLimits();
  limits.num_blocks = 4;
  Fixture fixture(limits);
  const TestClient& huge = fixture.Ask({1}, 16);
  const TestClient& small = fixture.Ask({1}, 15);
  fixture.RunUntilIdle();
  CHECK(huge.status ==
        absl::InvalidArgumentError("prompt and answer may take 17 tokens, the limit is 16"));
  CHECK(huge.num_finishes == 1);
  CHECK(small.status.ok());
  CHECK(small.ids.size() == 15);
}

TEST_CASE("A client that leaves is out, with slot and blocks, at the next step") {
  Fixture fixture;
  TestClient& leaving = fixture.Ask({1, 2}, 10);
  fixture.Ask({3, 4}, 5);
  fixture.Step();
  fixture.Step();
  leaving.gone = true;
  const StepPlan plan = fixture.Step();
  CHECK(plan.num_real_rows == 1);
  CHECK(leaving.status == absl::CancelledError("the client has left"));
  CHECK(leaving.completion.completion_tokens == 2);
  CHECK(leaving.ids.size() == 2);
  CHECK(fixture.scheduler.num_running() == 1);
  CHECK(fixture.scheduler.blocks().num_free() == fixture.limits.num_blocks - 1);
  fixture.RunUntilIdle();
  CHECK(leaving.num_finishes == 1);
  CHECK(fixture.clients[1].ids == fixture.answers[1]);
}

TEST_CASE("A deadline ends a running request before the step that would come after it") {
  Fixture fixture;
  TestClient& late = fixture.Ask({1, 2}, 10, AtMs(3));
  for (int i = 0; i < 3; ++i) fixture.Step();  // begun at 0, 1 and 2 ms
  CHECK(late.num_finishes == 0);
  CHECK(fixture.Step().kind == StepKind::kIdle);
  CHECK(late.status == absl::DeadlineExceededError("the deadline has passed"));
  CHECK(late.ids.size() == 3);
  CHECK(late.completion.times.finished == AtMs(3));
}

TEST_CASE("A deadline ends a request that waits behind a full batch") {
  Fixture fixture;
  for (int i = 0; i < 4; ++i) fixture.Ask({1, 2}, 10);
  TestClient& waiting = fixture.Ask({3}, 1, AtMs(2));
  for (int i = 0; i < 3; ++i) fixture.Step();
  CHECK(waiting.status.code() == absl::StatusCode::kDeadlineExceeded);
  CHECK(waiting.completion.times.admitted == absl::InfinitePast());
}

TEST_CASE("A failed step ends its own rows and nobody else") {
  Fixture fixture;
  fixture.Ask({1, 2}, 6);
  fixture.Step();
  fixture.Ask({3, 4}, 6);
  fixture.Step();
  SECTION("prefill") {
    fixture.engine.FailLaunch(2, absl::ResourceExhaustedError("out of memory"));
    CHECK(fixture.Step().kind == kPrefill);
    CHECK(fixture.clients[1].status == absl::ResourceExhaustedError("out of memory"));
    CHECK(fixture.clients[1].num_finishes == 1);
    CHECK(fixture.scheduler.blocks().num_free() == fixture.limits.num_blocks - 1);
    fixture.RunUntilIdle();
    CHECK(fixture.clients[0].ids == fixture.answers[0]);
  }
  SECTION("decode") {
    fixture.engine.FailFinish(3, absl::InternalError("broken"));
    fixture.Step();
    fixture.Ask({5, 6}, 6);
    CHECK(fixture.Step().kind == kDecode);
    CHECK(fixture.clients[0].status == absl::InternalError("broken"));
    CHECK(fixture.clients[1].status == absl::InternalError("broken"));
    CHECK(fixture.clients[0].completion.completion_tokens == 2);
    fixture.RunUntilIdle();
    CHECK(fixture.clients[2].ids == fixture.answers[2]);
  }
  CHECK(fixture.scheduler.blocks().num_free() == fixture.limits.num_blocks);
}

TEST_CASE("A sink that has enough ends the answer with kStopString") {
  Fixture fixture;
  TestClient& client = fixture.Ask({1, 2}, 10);
  client.wants_tokens = 3;
  CHECK(fixture.RunUntilIdle() == std::vector<StepKind>{kPrefill, kDecode, kDecode});
  CHECK(client.status.ok());
  CHECK(client.completion.reason == FinishReason::kStopString);
  CHECK(client.completion.completion_tokens == 3);
}

TEST_CASE("Sampling settings and the number of the draw go with each row") {
  Fixture fixture;
  auto request = MakeRequest(&fixture.clients.emplace_back(), {1, 2}, 4);
  request->sampling.temperature = 0.5f;
  request->sampling.seed = 42;
  request->sampling.repetition_penalty = 1.1f;
  fixture.Push(std::move(request));
  fixture.Ask({1, 2}, 4);
  fixture.Step();
  const StepPlan plan = fixture.Step();
  CHECK(plan.rows[0].sampling.seed == 42);
  CHECK(plan.rows[0].sample_index == 1);
  fixture.RunUntilIdle();
  fixture.CheckAnswers();
  CHECK(fixture.clients[0].ids != fixture.clients[1].ids);
}

TEST_CASE("AbortAll ends what runs and what waits, also between Next and Done") {
  Fixture fixture;
  for (int i = 0; i < 6; ++i) fixture.Ask({1, 2}, 6);
  fixture.Step();
  fixture.scheduler.Next(AtMs(1));
  fixture.scheduler.AbortAll(absl::UnavailableError("shutting down"), AtMs(2));
  for (const TestClient& client : fixture.clients) {
    CHECK(client.status == absl::UnavailableError("shutting down"));
    CHECK(client.num_finishes == 1);
  }
  CHECK(fixture.scheduler.blocks().num_free() == fixture.limits.num_blocks);
  CHECK(fixture.scheduler.Next(AtMs(3)).kind == StepKind::kIdle);
}

TEST_CASE("What a step asks of the clients does not grow with the queue") {
  for (int length : {200, 1000, 4000}) {
    Fixture fixture;
    RequestQueue queue(RequestQueueOptions{.max_requests = 5000});
    Scheduler scheduler(SchedulerOptions{fixture.limits, BucketTable(), 16}, &queue);
    std::deque<TestClient> clients;
    for (int i = 0; i < length; ++i) {
      auto request = MakeRequest(&clients.emplace_back(), {1}, 4);
      REQUIRE(queue.Push(request).ok());
    }
    const StepPlan plan = scheduler.Next(AtMs(0));
    scheduler.Done(plan, *RunStep(fixture.engine, plan), AtMs(1));
    for (TestClient& client : clients) client.asked_gone = 0;
    scheduler.Next(AtMs(1));
    int64_t asked = 0;
    for (const TestClient& client : clients) asked += client.asked_gone;
    CHECK(asked == RequestQueue::kQuietSweep + fixture.limits.max_batch_size);
    scheduler.AbortAll(absl::UnavailableError("over"), AtMs(2));
  }
}

TEST_CASE("Calls out of order die") {
  CHECK(Dies([] {
    Fixture fixture;
    fixture.Ask({1}, 2);
    fixture.scheduler.Next(AtMs(0));
    fixture.scheduler.Next(AtMs(0));
  }));
  CHECK(Dies([] {
    Fixture fixture;
    fixture.Ask({1}, 2);
    const StepPlan plan = fixture.Step();
    fixture.scheduler.Done(plan, StepOutput{{SampledToken{}}}, AtMs(0));
  }));
  CHECK(Dies([] {
    Fixture fixture;
    fixture.Ask({1}, 2);
    fixture.scheduler.Done(fixture.scheduler.Next(AtMs(0)), StepOutput{}, AtMs(0));
  }));
}

}  // namespace
}  // namespace glimpse
