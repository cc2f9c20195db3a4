// What the scheduler's tests share: requests, a scheduler and a fake engine, driven step by step.
#ifndef GLIMPSE_TESTS_SCHEDULE_SCHEDULER_FIXTURE_H_
#define GLIMPSE_TESTS_SCHEDULE_SCHEDULER_FIXTURE_H_

#include <catch2/catch.hpp>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "engine/schedule/scheduler.h"
#include "tests/fake_engine.h"
#include "tests/schedule/recording_sink.h"

namespace glimpse {

inline ModelLimits SchedulerLimits() {
  ModelLimits limits;
  limits.vocabulary_size = 100000;
  limits.max_context = 64;
  limits.image_rows = 6;
  limits.vision_layers = 4;
  limits.max_batch_size = 4;
  limits.block_size = 4;
  limits.num_blocks = 64;
  return limits;
}

inline SchedulerOptions FixtureOptions(const ModelLimits& limits, int depth = 1) {
  return {limits, BucketTable({2, 4}, {8, 16}), /*max_prefill_tokens=*/16, /*max_vision_rows=*/2,
          depth};
}

struct SchedulerFixture {
  explicit SchedulerFixture(const SchedulerOptions& options, std::vector<int32_t> script = {})
      : limits(options.limits),
        engine(FakeEngineOptions{limits, std::move(script), {}, options.depth}),
        scheduler(options, &queue) {}
  explicit SchedulerFixture(const ModelLimits& limits = SchedulerLimits(), int depth = 1,
                            std::vector<int32_t> script = {})
      : SchedulerFixture(FixtureOptions(limits, depth), std::move(script)) {}

  // Queues a text request; its answer alone is kept for comparison.
  TestClient& Ask(std::vector<int32_t> prompt, int max_tokens,
                  absl::Time deadline = absl::InfiniteFuture()) {
    TestClient& client = clients.emplace_back();
    auto request = MakeRequest(&client, std::move(prompt), max_tokens);
    request->deadline = deadline;
    Push(std::move(request));
    return client;
  }
  TestClient& AskWithImage(std::vector<int32_t> prompt, int max_tokens, uint8_t shade) {
    TestClient& client = clients.emplace_back();
    auto request = MakeRequest(&client, std::move(prompt), max_tokens);
    AddImage(request.get(), 1, shade);
    Push(std::move(request));
    return client;
  }
  void Push(std::unique_ptr<Request> request) {
    answers.push_back(AnswerAlone(*request, limits));
    REQUIRE(queue.Push(request).ok());
  }

  // Plans and launches a step, or has nothing to plan.
  StepPlan Launch() {
    StepPlan plan = scheduler.Next(AtMs(now_ms));
    if (plan.kind == StepKind::kIdle) return plan;
    INFO(plan.DebugString());
    in_flight.push_back({plan, engine.Launch(plan)});
    return plan;
  }
  // Finishes the oldest step in flight, `step_ms` later; returns what came of it.
  absl::Status FinishStep() {
    const auto [plan, launched] = in_flight.front();
    in_flight.pop_front();
    const absl::StatusOr<StepOutput> output = launched.ok() ? engine.Finish() : launched;
    now_ms += step_ms(plan);
    if (output.ok()) {
      report = scheduler.Done(plan, *output, AtMs(now_ms));
    } else {
      scheduler.Failed(plan, output.status(), AtMs(now_ms));
    }
    return output.status();
  }
  void Finish() { REQUIRE(FinishStep() == absl::OkStatus()); }
  // One step by itself, whatever comes of it.
  StepPlan Step() {
    StepPlan plan = Launch();
    if (plan.kind != StepKind::kIdle) FinishStep().IgnoreError();
    return plan;
  }
  // As many steps in flight as there may be, until nothing runs; returns them in their order.
  std::vector<StepKind> RunUntilIdle() {
    std::vector<StepKind> kinds;
    while (true) {
      if (static_cast<int>(in_flight.size()) < engine.depth()) {
        const StepKind kind = Launch().kind;
        if (kind != StepKind::kIdle) {
          kinds.push_back(kind);
          continue;
        }
      }
      if (in_flight.empty()) return kinds;
      Finish();
    }
  }
  // Each client got one OK Finish and the answer of a request alone.
  void CheckAnswers() const {
    for (size_t i = 0; i < clients.size(); ++i) {
      INFO("client " << i);
      CHECK(clients[i].num_finishes == 1);
      CHECK(clients[i].calls_after_finish == 0);
      CHECK(clients[i].status == absl::OkStatus());
      CHECK(clients[i].ids == answers[i]);
    }
    CHECK(scheduler.num_running() == 0);
    CHECK(scheduler.blocks().num_free() == limits.num_blocks);
  }

  const ModelLimits limits;
  std::deque<TestClient> clients;
  std::vector<std::vector<int32_t>> answers;
  RequestQueue queue{RequestQueueOptions{}};
  FakeEngine engine;
  Scheduler scheduler;
  std::deque<std::pair<StepPlan, absl::Status>> in_flight;
  StepReport report;  // of the last step that succeeded
  int64_t now_ms = 0;
  std::function<int64_t(const StepPlan&)> step_ms = [](const StepPlan&) { return 1; };
};

inline constexpr StepKind kVision = StepKind::kVision;
inline constexpr StepKind kPrefill = StepKind::kPrefill;
inline constexpr StepKind kDecode = StepKind::kDecode;

}  // namespace glimpse

#endif  // GLIMPSE_TESTS_SCHEDULE_SCHEDULER_FIXTURE_H_
