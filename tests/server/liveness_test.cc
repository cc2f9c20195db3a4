#include "server/liveness.h"

#include <catch2/catch.hpp>

#include "tests/schedule/recording_sink.h"
#include "tests/server/loop_fixture.h"
#include "tests/server/step_gate.h"

namespace glimpse {
namespace {

TEST_CASE("liveness fails when work is there and no step comes to an end, until one does") {
  Liveness liveness(absl::Seconds(30));
  CHECK(liveness.Look(AtMs(0), 0, true));
  CHECK(liveness.Look(AtMs(29'999), 0, true));
  CHECK_FALSE(liveness.Look(AtMs(30'000), 0, true));
  CHECK_FALSE(liveness.Look(AtMs(90'000), 0, true));
  CHECK(liveness.Look(AtMs(91'000), 1, true));
  CHECK(liveness.Look(AtMs(120'000), 1, true));
  CHECK_FALSE(liveness.Look(AtMs(121'000), 1, true));
}

TEST_CASE("liveness does not fail without work, however long") {
  Liveness liveness(absl::Seconds(30));
  for (int hour = 0; hour < 100; ++hour) CHECK(liveness.Look(AtMs(hour * 3'600'000), 5, false));
  // The time begins with the first look at the work, not with the last step.
  CHECK(liveness.Look(AtMs(360'000'000), 5, false));
  CHECK(liveness.Look(AtMs(360'001'000), 5, true));
  CHECK(liveness.Look(AtMs(360'029'000), 5, true));
  CHECK_FALSE(liveness.Look(AtMs(360'030'000), 5, true));
}

TEST_CASE("liveness does not fail under load that never ends while steps do") {
  Liveness liveness(absl::Seconds(30));
  for (int step = 0; step < 1000; ++step) CHECK(liveness.Look(AtMs(step * 29'000), step, true));
}

TEST_CASE("liveness sees a loop that hangs in a step, and that it goes on") {
  StepGate gate;
  gate.Allow(2);
  TestClient running, waiting[3];
  LoopFixture fixture(GENERATE(1, 2), [&](const StepPlan&) { gate.Pass(); });
  Liveness liveness(absl::Seconds(30));
  const auto look = [&](int64_t seconds) {
    return liveness.Look(AtMs(1000 * seconds), fixture.loop.progress(), fixture.loop.has_work());
  };
  CHECK(look(0));
  fixture.Push(&running, 50);
  for (TestClient& client : waiting) fixture.Push(&client, 5);
  gate.WaitUntilHeld();
  CHECK(look(1000));
  CHECK(look(1029));
  CHECK_FALSE(look(1030));
  gate.Open();
  fixture.loop.Drain(absl::InfiniteFuture());
  CHECK(look(2000));
  CHECK(look(3000));
  CHECK(running.status.ok());
}

}  // namespace
}  // namespace glimpse
