#include "server/serving_loop.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <memory>
#include <string>
#include <vector>

#include "tests/fake_engine.h"
#include "tests/schedule/recording_sink.h"
#include "tests/server/step_gate.h"

namespace glimpse {
namespace {

ModelLimits Limits() {
  ModelLimits limits;
  limits.vocabulary_size = 200;
  limits.max_context = 128;
  limits.image_size = 2;
  limits.image_rows = 5;
  limits.max_batch_size = 2;
  limits.block_size = 16;
  limits.num_blocks = 16;
  return limits;
}

// A loop over the fake engine; `on_run` runs on its thread before each step. Read clients after
// Drain only: the loop's thread writes them.
struct Fixture {
  explicit Fixture(std::function<void(const StepPlan&)> on_run = nullptr)
      : engine({Limits(), {}, std::move(on_run)}),
        loop({Limits(), BucketTable(), 2048}, &queue, &engine, &clock) {}

  std::unique_ptr<Request> Push(TestClient* client, int max_tokens) {
    std::unique_ptr<Request> request = MakeRequest(client, {1, 2, 3}, max_tokens);
    REQUIRE(queue.Push(request).ok());
    return request;
  }

  RealClock clock;
  RequestQueue queue{RequestQueueOptions()};
  FakeEngine engine;
  ServingLoop loop;
};

std::vector<int32_t> Alone(std::vector<int32_t> prompt, int max_tokens) {
  TestClient nobody;
  return AnswerAlone(*MakeRequest(&nobody, std::move(prompt), max_tokens), Limits());
}

TEST_CASE("a drain finishes what was accepted, and then nothing is accepted") {
  TestClient clients[5];
  Fixture fixture;
  for (TestClient& client : clients) fixture.Push(&client, 20);
  fixture.loop.Drain(absl::InfiniteFuture());
  for (const TestClient& client : clients) {
    CHECK(client.num_finishes == 1);
    CHECK(client.status.ok());
    CHECK(client.ids == Alone({1, 2, 3}, 20));
  }
  std::unique_ptr<Request> late = MakeRequest(&clients[0], {1}, 1);
  CHECK(absl::IsUnavailable(fixture.queue.Push(late)));
}

TEST_CASE("a drain past its deadline ends everything, running or waiting") {
  StepGate gate;
  gate.Close();
  TestClient clients[3];  // two run, one waits
  Fixture fixture([&](const StepPlan&) { gate.Pass(); });
  for (TestClient& client : clients) fixture.Push(&client, 100);
  gate.WaitUntilHeld();
  std::thread drain([&] { fixture.loop.Drain(absl::InfinitePast()); });
  while (!fixture.queue.closed()) std::this_thread::yield();
  gate.Open();
  drain.join();
  for (const TestClient& client : clients) {
    CHECK(client.num_finishes == 1);
    CHECK(absl::IsUnavailable(client.status));
  }
}

TEST_CASE("an idle loop ends at once") {
  Fixture fixture;
  fixture.loop.Drain(absl::InfiniteFuture());
  CHECK(fixture.engine.num_steps() == 0);
}

TEST_CASE("a client that left is in no step after the one that runs") {
  TestClient leaving, waiting;
  int steps_after = 0;
  int64_t step = 0;
  Fixture fixture([&](const StepPlan& plan) {
    ++step;
    if (leaving.gone) {
      steps_after += std::any_of(plan.rows.begin(), plan.rows.end(),
                                 [](const StepRow& row) { return row.sequence == 0; });
    }
    if (step == 10) leaving.gone = true;  // in the middle of this step
  });
  fixture.Push(&leaving, 100);
  fixture.Push(&waiting, 50);
  fixture.loop.Drain(absl::InfiniteFuture());
  CHECK(step > 10);
  CHECK(steps_after == 0);
  CHECK(absl::IsCancelled(leaving.status));
  CHECK(leaving.num_finishes == 1);
  CHECK(waiting.status.ok());
  CHECK(waiting.ids == Alone({1, 2, 3}, 50));
}

TEST_CASE("a failed step fails its requests, and later ones are served") {
  TestClient failing, later;
  Fixture fixture;
  fixture.engine.FailStep(1, absl::InternalError("injected by the test"));
  fixture.Push(&failing, 20);
  while (fixture.engine.num_steps() < 2) std::this_thread::yield();
  fixture.Push(&later, 20);
  fixture.loop.Drain(absl::InfiniteFuture());
  CHECK(absl::IsInternal(failing.status));
  CHECK(later.status.ok());
  CHECK(later.ids == Alone({1, 2, 3}, 20));
}

}  // namespace
}  // namespace glimpse
