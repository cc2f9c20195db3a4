#include "server/serving_loop.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/fake_engine.h"
#include "tests/schedule/recording_sink.h"
#include "tests/server/loop_fixture.h"
#include "tests/server/step_gate.h"

namespace glimpse {
namespace {

// The events of a loop that serves one request for `max_tokens`.
std::string Events(Recorder* recorder, int max_tokens, TestClient* client) {
  const RealClock clock;
  RequestQueue queue{RequestQueueOptions()};
  std::unique_ptr<Request> request = MakeRequest(client, {1, 2, 3}, max_tokens);
  REQUIRE(queue.Push(request).ok());
  ServingLoop loop(LoopOptions(), &queue, recorder, &clock);
  loop.Drain(absl::InfiniteFuture());
  return recorder->Events();
}

TEST_CASE("a task runs between steps, once nothing runs or waits") {
  StepGate gate;
  gate.Close();
  TestClient clients[3];
  LoopFixture fixture(GENERATE(1, 2), [&](const StepPlan&) { gate.Pass(); });
  for (TestClient& client : clients) fixture.Push(&client, 4);  // two run, one waits
  gate.WaitUntilHeld();
  int finished_before = -1;
  std::thread asks([&] {
    fixture.loop.RunWhenIdle([&] {
      finished_before = 0;
      for (const TestClient& client : clients) finished_before += client.finished();
    });
  });
  gate.Open();
  asks.join();
  CHECK(finished_before == 3);

  bool ran = false;
  fixture.loop.RunWhenIdle([&] { ran = true; });  // with nothing there at all
  CHECK(ran);
  TestClient after;
  fixture.Push(&after, 4);
  fixture.loop.Drain(absl::InfiniteFuture());
  CHECK(after.finished());
}

TEST_CASE("a drain finishes what was accepted, and then nothing is accepted") {
  TestClient clients[5];
  LoopFixture fixture(GENERATE(1, 2));
  for (TestClient& client : clients) fixture.Push(&client, 20);
  fixture.loop.Drain(absl::InfiniteFuture());
  for (const TestClient& client : clients) {
    CHECK(client.num_finishes == 1);
    CHECK(client.status.ok());
    CHECK(client.ids == AnswerTo({1, 2, 3}, 20));
  }
  std::unique_ptr<Request> late = MakeRequest(&clients[0], {1}, 1);
  CHECK(absl::IsUnavailable(fixture.queue.Push(late)));
}

TEST_CASE("a drain past its deadline ends everything, running or waiting") {
  const int depth = GENERATE(1, 2);
  StepGate gate;
  gate.Close();
  TestClient clients[3];  // two run, one waits
  LoopFixture fixture(depth, [&](const StepPlan&) { gate.Pass(); });
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

TEST_CASE("a drain past its deadline leaves no step in flight") {
  const RealClock clock;
  RequestQueue queue{RequestQueueOptions()};
  TestClient client;
  std::unique_ptr<Request> request = MakeRequest(&client, {1, 2, 3}, 100);
  REQUIRE(queue.Push(request).ok());
  StepGate gate;
  gate.Allow(1);
  Recorder recorder(2, [&](const StepPlan&) { gate.Pass(); });
  ServingLoop loop(LoopOptions(), &queue, &recorder, &clock);
  gate.WaitUntilHeld();
  std::thread drain([&] { loop.Drain(absl::InfinitePast()); });
  while (!queue.closed()) std::this_thread::yield();
  gate.Open();
  drain.join();
  CHECK(recorder.Events() == "LLFF");
  CHECK(absl::IsUnavailable(client.status));
  CHECK(client.ids.size() == 2);
}

TEST_CASE("a drain that waits no longer leaves a step that hangs, and can be tried again") {
  StepGate gate;
  gate.Close();
  TestClient client;
  LoopFixture fixture(2, [&](const StepPlan&) { gate.Pass(); });
  fixture.Push(&client, 100);
  gate.WaitUntilHeld();
  CHECK_FALSE(fixture.loop.TryDrain(absl::InfinitePast(), absl::Milliseconds(1)));
  CHECK_FALSE(client.finished());
  gate.Open();
  CHECK(fixture.loop.TryDrain(absl::InfinitePast(), absl::Seconds(60)));
  CHECK(absl::IsUnavailable(client.status));
}

TEST_CASE("an idle loop ends at once") {
  LoopFixture fixture(2);
  fixture.loop.Drain(absl::InfiniteFuture());
  CHECK(fixture.engine.num_steps() == 0);
}

TEST_CASE("the next step is launched before the one that runs is finished, if the depth allows") {
  TestClient client;
  Recorder recorder(GENERATE(1, 2, 3));
  const std::vector<std::string> expected = {"LFLFLFLF", "LLFLFLFF", "LLLFLFFF"};
  CHECK(Events(&recorder, 4, &client) == expected[recorder.depth() - 1]);
  CHECK(client.status.ok());
  CHECK(client.ids == AnswerTo({1, 2, 3}, 4));
}

TEST_CASE("a step that does not start gets no Finish, and nothing is launched behind it") {
  TestClient client;
  Recorder recorder(GENERATE(1, 2, 3));
  recorder.engine.FailLaunch(1, absl::InternalError("injected by the test"));
  CHECK(Events(&recorder, 4, &client) == (recorder.depth() == 1 ? "LFL" : "LLF"));
  CHECK(absl::IsInternal(client.status));
  CHECK(client.ids.size() == 1);
  CHECK(client.num_finishes == 1);
}

TEST_CASE("a client that left is in no step after the one that runs") {
  const int depth = GENERATE(1, 2);
  TestClient leaving, waiting;
  int steps_after = 0;
  int64_t step = 0;
  LoopFixture fixture(depth, [&](const StepPlan& plan) {
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
  CHECK(waiting.ids == AnswerTo({1, 2, 3}, 50));
}

TEST_CASE("a failed step fails its requests, and later ones are served") {
  TestClient failing, later;
  LoopFixture fixture(GENERATE(1, 2));
  fixture.engine.FailFinish(1, absl::InternalError("injected by the test"));
  fixture.Push(&failing, 20);
  while (fixture.engine.num_steps() < 2) std::this_thread::yield();
  fixture.Push(&later, 20);
  fixture.loop.Drain(absl::InfiniteFuture());
  CHECK(absl::IsInternal(failing.status));
  CHECK(later.status.ok());
  CHECK(later.ids == AnswerTo({1, 2, 3}, 20));
}

}  // namespace
}  // namespace glimpse
