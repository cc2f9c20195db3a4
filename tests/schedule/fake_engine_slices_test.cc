// The fake engine's eye on pictures that are encoded a slice of layers at a time.
#include <algorithm>
#include <catch2/catch.hpp>
#include <vector>

#include "tests/fake_engine.h"
#include "tests/schedule/fake_engine_fixture.h"

namespace glimpse {
namespace {

using Steps = FakeEngineSteps;

// Of the picture in slot `slot`.
struct Slice {
  int slot, first_layer, end_layer;
};

// What the last of the slices comes to.
absl::Status RunSlices(const std::vector<std::vector<Slice>>& steps) {
  FakeEngine engine(FakeEngineOptions{FakeEngineLimits(), {}, {}, 1});
  const Steps values;
  absl::Status status;
  int group = 0;
  for (const std::vector<Slice>& slices : steps) {
    StepPlan plan = values.vision;
    plan.rows.resize(slices.size(), plan.rows[0]);
    plan.num_real_rows = static_cast<int>(slices.size());
    if (slices[0].first_layer == 0) group = plan.num_real_rows;
    plan.bucket = std::max(group, plan.num_real_rows);
    for (size_t i = 0; i < slices.size(); ++i) {
      StepRow& row = plan.rows[i];
      row.slot = slices[i].slot;
      row.sequence = 4 + row.slot;
      row.starts = slices[i].first_layer == 0;
      row.prompt = row.starts ? &values.prompt : nullptr;
      plan.first_layer = slices[i].first_layer;
      plan.end_layer = slices[i].end_layer;
    }
    status = RunStep(engine, plan).status();
    if (!status.ok()) return status;
  }
  return status;
}

TEST_CASE("Slices of a tower go on where they ended, with the pictures that they began with") {
  CHECK(RunSlices({{{0, 0, 1}}, {{0, 1, 2}}, {{0, 2, 3}}}).ok());
  CHECK(RunSlices({{{0, 0, 2}, {1, 0, 2}}, {{1, 2, 3}}}).ok());
  const absl::Status gap = absl::InternalError("the layers of the pictures do not go on");
  CHECK(RunSlices({{{0, 0, 1}}, {{0, 2, 3}}}) == gap);
  CHECK(RunSlices({{{0, 0, 2}}, {{0, 1, 3}}}) == gap);
  CHECK(RunSlices({{{0, 0, 1}}, {{1, 0, 2}}, {{0, 1, 3}}}) == gap);
  CHECK(RunSlices({{{0, 0, 1}}, {{0, 1, 3}, {1, 1, 3}}}) ==
        absl::InternalError("a picture joins behind its group's first slice"));
  const absl::Status none = absl::InternalError("a slice of layers that the tower does not have");
  CHECK(RunSlices({{{0, 0, 4}}}) == none);
  CHECK(RunSlices({{{0, 0, 0}}}) == none);
}

TEST_CASE("A slice is as large as its group was at first, whoever has left") {
  const auto run = [](int first_size, int later_size) {
    FakeEngine engine(FakeEngineOptions{FakeEngineLimits(), {}, {}, 1});
    const Steps values;
    StepPlan first = values.vision;
    first.rows.push_back(first.rows[0]);
    first.rows[1].sequence = 5;
    first.rows[1].slot = 0;
    first.num_real_rows = 2;
    first.bucket = first_size;
    first.end_layer = 1;
    if (absl::Status status = RunStep(engine, first).status(); !status.ok()) return status;
    StepPlan later = values.vision;
    later.rows[0].starts = false;
    later.rows[0].prompt = nullptr;
    later.bucket = later_size;
    later.first_layer = 1;
    return RunStep(engine, later).status();
  };
  const absl::Status other = absl::InternalError("not the size of the group's first slice");
  CHECK(run(2, 2).ok());
  CHECK(run(2, 1) == other);
  CHECK(run(2, 3) == other);
  CHECK(run(3, 3) == other);
  CHECK(run(1, 2) == absl::InternalError("more pictures than their group has"));
}

TEST_CASE("A picture's rows are there after its last slice and not before") {
  Steps steps;
  FakeEngine engine(FakeEngineOptions{FakeEngineLimits(), {}, {}, 1});
  steps.vision.end_layer = 2;
  REQUIRE(RunStep(engine, steps.vision).ok());
  SECTION("before") {
    CHECK(RunStep(engine, steps.prefill).status() ==
          absl::InternalError("sequence 4: image rows before the vision step"));
  }
  SECTION("after") {
    StepPlan rest = steps.vision;
    rest.rows[0].starts = false;
    rest.rows[0].prompt = nullptr;
    rest.first_layer = 2;
    rest.end_layer = 3;
    REQUIRE(RunStep(engine, rest).ok());
    CHECK(RunStep(engine, steps.prefill).ok());
  }
}

}  // namespace
}  // namespace glimpse
