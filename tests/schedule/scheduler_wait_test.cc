// Waiting: for company, for room, for a deadline.
#include <catch2/catch.hpp>
#include <vector>

#include "tests/schedule/recording_sink.h"
#include "tests/schedule/scheduler_fixture.h"

namespace glimpse {
namespace {

struct Fixture : SchedulerFixture {
  explicit Fixture(BatchPolicyKind policy, int max_batch_size = 16)
      : SchedulerFixture(Options(policy, max_batch_size)) {}
  static SchedulerOptions Options(BatchPolicyKind policy, int max_batch_size) {
    ModelLimits limits = SchedulerLimits();
    limits.max_batch_size = max_batch_size;
    limits.num_blocks = 200;
    SchedulerOptions options = FixtureOptions(limits);
    options.buckets = BucketTable({4, 8, 16}, {8, 16});
    options.policy = policy;
    return options;
  }
  int MostAtOnce() {
    int most = 0;
    while (Step().kind != StepKind::kIdle) most = std::max(most, scheduler.num_running());
    return most;
  }
};

TEST_CASE("As many run at once as the policy says, and all get their answer") {
  const auto [policy, most] = GENERATE(table<BatchPolicyKind, int>({
      {BatchPolicyKind::kRealtime, 2},
      {BatchPolicyKind::kBalanced, 4},
      {BatchPolicyKind::kAuto, 16},
      {BatchPolicyKind::kOffline, 16},
  }));
  Fixture fixture(policy);
  for (int i = 0; i < 40; ++i) fixture.Ask({i, 1}, 20);
  CHECK(fixture.MostAtOnce() == most);
  fixture.CheckAnswers();
}

TEST_CASE("Auto's size falls back when the crowd has long gone") {
  Fixture fixture(BatchPolicyKind::kAuto);
  CHECK(fixture.scheduler.Next(AtMs(0)).kind == StepKind::kIdle);
  CHECK(fixture.scheduler.load().targets.batch_size == 4);
  fixture.step_ms = [](const StepPlan&) { return 50; };
  for (int i = 0; i < 40; ++i) fixture.Ask({i, 1}, 40);
  fixture.RunUntilIdle();
  fixture.scheduler.Next(AtMs(fixture.now_ms + 100));
  CHECK(fixture.scheduler.load().targets.batch_size >= 8);
  fixture.scheduler.Next(AtMs(fixture.now_ms + 60000));
  CHECK(fixture.scheduler.load().targets.batch_size == 4);
}

TEST_CASE("Offline, the first of an idle server waits for company, but no longer than 50 ms") {
  Fixture fixture(BatchPolicyKind::kOffline);
  fixture.Ask({1}, 3);
  CHECK(fixture.Step().kind == StepKind::kIdle);
  CHECK_FALSE(fixture.scheduler.empty());
  CHECK(fixture.scheduler.num_running() == 1);
  CHECK(fixture.scheduler.NextLook() == AtMs(50));
  SECTION("nobody comes") {
    fixture.now_ms = 49;
    CHECK(fixture.Step().kind == StepKind::kIdle);
    fixture.now_ms = 50;
    CHECK(fixture.Step().num_real_rows == 1);
  }
  SECTION("some come, and the wait is the first one's") {
    fixture.now_ms = 30;
    fixture.Ask({2}, 3);
    CHECK(fixture.Step().kind == StepKind::kIdle);
    CHECK(fixture.scheduler.NextLook() == AtMs(50));
    fixture.now_ms = 50;
    CHECK(fixture.Step().num_real_rows == 2);
  }
  SECTION("eight are a batch") {
    fixture.now_ms = 5;
    for (int i = 0; i < 7; ++i) fixture.Ask({2}, 3);
    CHECK(fixture.Step().num_real_rows == 8);
  }
  SECTION("one is in a hurry") {
    fixture.Ask({2}, 3, AtMs(40));
    CHECK(fixture.Step().num_real_rows == 2);
  }
  SECTION("one has no time to wait and be answered") {
    fixture.Ask({2}, 3, AtMs(100));
    CHECK(fixture.Step().num_real_rows == 2);
  }
  SECTION("one has time for both") {
    fixture.Ask({2}, 3, AtMs(101));
    CHECK(fixture.Step().kind == StepKind::kIdle);
    fixture.now_ms = 50;
    CHECK(fixture.Step().num_real_rows == 2);
  }
  SECTION("nobody can come any more") {
    fixture.queue.Close();
    CHECK(fixture.Step().num_real_rows == 1);
  }
  fixture.RunUntilIdle();
  fixture.CheckAnswers();
}

TEST_CASE("Offline, who comes to a server that is at work joins at once") {
  Fixture fixture(BatchPolicyKind::kOffline);
  fixture.Ask({1}, 10);
  fixture.Step();
  fixture.now_ms = 50;
  fixture.Step();
  fixture.Ask({2}, 3);
  CHECK(fixture.Step().kind == kDecode);
  CHECK(fixture.Step().kind == kPrefill);
  fixture.RunUntilIdle();
  fixture.CheckAnswers();
}

TEST_CASE("Who leaves while waiting for company is out at once") {
  Fixture fixture(BatchPolicyKind::kOffline);
  TestClient& client = fixture.Ask({1}, 3);
  fixture.Step();
  client.gone = true;
  CHECK(fixture.Step().kind == StepKind::kIdle);
  CHECK(client.status.code() == absl::StatusCode::kCancelled);
  CHECK(fixture.scheduler.empty());
  CHECK(fixture.scheduler.load().kv_blocks_live == 0);
  CHECK(fixture.scheduler.NextLook() == absl::InfiniteFuture());
}

TEST_CASE("The next look is the next deadline, of those that run and of those that wait") {
  Fixture fixture(BatchPolicyKind::kAuto, /*max_batch_size=*/1);
  CHECK(fixture.scheduler.NextLook() == absl::InfiniteFuture());
  fixture.Ask({1}, 10);
  fixture.Step();
  CHECK(fixture.scheduler.NextLook() == absl::InfiniteFuture());
  fixture.Ask({2}, 10, AtMs(500));
  CHECK(fixture.scheduler.NextLook() == AtMs(500));
  fixture.Ask({3}, 10, AtMs(300));
  CHECK(fixture.scheduler.NextLook() == AtMs(300));
  fixture.now_ms = 300;
  fixture.Step();
  CHECK(fixture.clients[2].status.code() == absl::StatusCode::kDeadlineExceeded);
  CHECK(fixture.scheduler.NextLook() == AtMs(500));
}

TEST_CASE("The load says what runs, what waits and what the pool holds") {
  Fixture fixture(BatchPolicyKind::kBalanced, /*max_batch_size=*/3);
  for (int i = 0; i < 5; ++i) fixture.Ask({1, 2, 3, 4}, 4);
  fixture.Step();
  const SchedulerLoad load = fixture.scheduler.load();
  CHECK(load.running == 3);
  CHECK(load.waiting == 2);
  CHECK(load.kv_blocks_live == 6);
  CHECK(load.kv_blocks_free == 194);
  CHECK(load.preemptions == 0);
  CHECK(load.targets.batch_size == 3);
}

TEST_CASE("A step's report says what it ran and how long the device had for it") {
  SchedulerFixture fixture(SchedulerLimits(), /*depth=*/2);
  fixture.step_ms = [](const StepPlan& plan) { return plan.kind == kPrefill ? 9 : 4; };
  for (int i = 0; i < 3; ++i) fixture.Ask({1, 2, 3}, 5);
  fixture.now_ms = 100;
  fixture.Launch();
  fixture.Launch();
  fixture.Finish();
  CHECK(fixture.report.kind == kPrefill);
  CHECK(fixture.report.rows == 3);
  CHECK(fixture.report.tokens == 9);
  CHECK(fixture.report.bucket == 16);
  CHECK(fixture.report.duration == absl::Milliseconds(9));
  fixture.Finish();  // planned at 100 ms, behind a step that ended at 109
  CHECK(fixture.report.kind == kDecode);
  CHECK(fixture.report.rows == 3);
  CHECK(fixture.report.tokens == 3);
  CHECK(fixture.report.bucket == 4);
  CHECK(fixture.report.duration == absl::Milliseconds(4));
  fixture.now_ms = 200;
  fixture.Step();  // planned long after
  CHECK(fixture.report.duration == absl::Milliseconds(4));
  fixture.RunUntilIdle();
  fixture.CheckAnswers();
}

}  // namespace
}  // namespace glimpse
