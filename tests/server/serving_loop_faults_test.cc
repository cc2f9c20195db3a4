// What the serving loop does when the runner breaks, when nothing is to be done, and what it tells.
#include <atomic>
#include <catch2/catch.hpp>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "server/serving_loop.h"
#include "tests/fake_engine.h"
#include "tests/schedule/recording_sink.h"
#include "tests/server/loop_fixture.h"
#include "tests/server/step_gate.h"

namespace glimpse {
namespace {

void YieldUntil(const std::function<bool()>& condition) {
  while (!condition()) std::this_thread::yield();
}

TEST_CASE("a runner that breaks ends every request and the loop, which tells it first") {
  StepGate gate;
  gate.Allow(3);
  TestClient clients[3];  // two run, one waits
  int told = 0, ended_before = 0;
  ServingLoopHooks hooks;
  hooks.broken = [&] {
    ++told;
    for (const TestClient& client : clients) ended_before += client.finished();
  };
  LoopFixture fixture(
      GENERATE(1, 2), [&](const StepPlan&) { gate.Pass(); }, hooks);
  for (TestClient& client : clients) fixture.Push(&client, 100);
  gate.WaitUntilHeld();
  CHECK(fixture.loop.fault().ok());
  fixture.engine.Break();
  gate.Open();
  YieldUntil([&] { return fixture.queue.closed(); });  // nobody asked for a drain
  CHECK(absl::IsInternal(fixture.loop.fault()));
  CHECK(!fixture.loop.RunWhenIdle([] { FAIL("the runner is not fit to be used"); }));
  fixture.loop.Drain(absl::InfiniteFuture());
  CHECK(told == 1);
  CHECK(ended_before == 0);
  for (const TestClient& client : clients) {
    CHECK(client.num_finishes == 1);
    CHECK(absl::IsInternal(client.status));
  }
  std::unique_ptr<Request> late = MakeRequest(&clients[0], {1}, 1);
  CHECK(absl::IsUnavailable(fixture.queue.Push(late)));
  CHECK(!fixture.loop.has_work());
}

TEST_CASE("a runner that breaks in a task ends the loop after it") {
  LoopFixture fixture(2);
  CHECK(fixture.loop.RunWhenIdle([&] { fixture.engine.Break(); }));
  YieldUntil([&] { return fixture.queue.closed(); });
  CHECK(absl::IsInternal(fixture.loop.fault()));
  CHECK(!fixture.loop.RunWhenIdle([] {}));
}

TEST_CASE("a fault that passes breaks nothing") {
  TestClient failing;
  LoopFixture fixture(GENERATE(1, 2));
  fixture.engine.FailFinish(1, absl::InternalError("injected by the test"));
  fixture.Push(&failing, 20);
  fixture.loop.Drain(absl::InfiniteFuture());
  CHECK(absl::IsInternal(failing.status));
  CHECK(fixture.loop.fault().ok());
}

TEST_CASE("upkeep is done in quiet until there is no more, and again after the next step") {
  const RealClock clock;
  RequestQueue queue{RequestQueueOptions()};
  Recorder recorder(2, nullptr, /*upkeep=*/2);
  ServingLoop loop(LoopOptions(), &queue, &recorder, &clock);
  YieldUntil([&] { return recorder.Events() == "UUU"; });
  TestClient client;
  std::unique_ptr<Request> request = MakeRequest(&client, {1, 2, 3}, 4);
  REQUIRE(queue.Push(request).ok());
  YieldUntil([&] { return recorder.Events().size() == 12; });
  CHECK(recorder.Events() == "UUULLFLFLFFU");
}

TEST_CASE("the loop publishes in quiet, and its metrics say what runs") {
  std::atomic<int> published = 0;
  Metrics metrics("test", BucketTable());
  ServingLoopHooks hooks;
  hooks.metrics = &metrics;
  hooks.publish = [&] { ++published; };
  StepGate gate;
  gate.Allow(2);
  TestClient client;
  LoopFixture fixture(
      1, [&](const StepPlan&) { gate.Pass(); }, hooks);
  fixture.Push(&client, 8);
  gate.WaitUntilHeld();
  CHECK(metrics.requests_running.Value() == 1);
  CHECK(metrics.kv_blocks_live.Value() >= 1);
  gate.Open();
  YieldUntil([&] { return metrics.requests_running.Value() == 0; });
  const int before = published;
  YieldUntil([&] { return published > before; });
  CHECK(metrics.kv_blocks_live.Value() == 0);
}

TEST_CASE("a request that waits for company in vain runs when the wait is over, or at a drain") {
  TestClient first, second;
  LoopFixture fixture(1, nullptr, {}, BatchPolicyKind::kOffline);
  fixture.Push(&first, 4);
  YieldUntil([&] { return fixture.engine.num_steps() == 4; });  // 50 ms, without another push
  YieldUntil([&] { return !fixture.loop.has_work(); });
  fixture.Push(&second, 4);
  fixture.loop.Drain(absl::InfiniteFuture());
  for (const TestClient* client : {&first, &second}) {
    CHECK(client->status.ok());
    CHECK(client->ids == AnswerTo({1, 2, 3}, 4));
  }
}

}  // namespace
}  // namespace glimpse
