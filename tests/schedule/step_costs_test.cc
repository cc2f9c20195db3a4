#include "engine/schedule/step_costs.h"

#include <catch2/catch.hpp>

namespace glimpse {
namespace {

absl::Duration Ms(double ms) { return absl::Milliseconds(1) * ms; }
double InMs(absl::Duration duration) { return absl::ToDoubleMilliseconds(duration); }

constexpr StepKind kVision = StepKind::kVision;
constexpr StepKind kPrefill = StepKind::kPrefill;
constexpr StepKind kDecode = StepKind::kDecode;

TEST_CASE("Before there was a step, nothing is known and a careful size is tried") {
  const StepCosts costs;
  CHECK(costs.Estimate(kDecode, 4) == absl::ZeroDuration());
  CHECK(costs.Estimate(kPrefill, 2048) == absl::ZeroDuration());
  CHECK(costs.Estimate(kVision, 63) == absl::ZeroDuration());
  CHECK(costs.SizeWithin(kPrefill, Ms(15)) == 256);
  CHECK(costs.SizeWithin(kVision, Ms(15)) == 8);
}

TEST_CASE("Vision costs by pictures and layers") {
  StepCosts costs;
  costs.Add(kVision, 8, Ms(16));
  CHECK(InMs(costs.Estimate(kVision, 63)) == Approx(126));
  CHECK(costs.SizeWithin(kVision, Ms(15)) == 7);
  CHECK(costs.SizeWithin(kVision, Ms(1)) == 1);
}

TEST_CASE("A prompt's tokens cost what comes on top of a decode step") {
  StepCosts costs;
  for (int i = 0; i < 3; ++i) costs.Add(kDecode, 16, Ms(6));
  costs.Add(kPrefill, 512, Ms(6 + 0.028 * 512));
  CHECK(InMs(costs.Estimate(kPrefill, 1024)) == Approx(6 + 0.028 * 1024));
  CHECK(costs.SizeWithin(kPrefill, Ms(15)) == 321);
  CHECK(costs.SizeWithin(kPrefill, Ms(5)) == 1);  // not even the fixed part
}

TEST_CASE("A size grows by no more than twice what there was") {
  StepCosts costs;
  for (int i = 0; i < 3; ++i) costs.Add(kDecode, 16, Ms(6));
  costs.Add(kPrefill, 64, Ms(6));  // as if tokens cost nothing
  CHECK(costs.SizeWithin(kPrefill, Ms(15)) == 128);
  costs.Add(kPrefill, 128, Ms(6));
  CHECK(costs.SizeWithin(kPrefill, Ms(15)) == 256);
}

TEST_CASE("The cost follows a device that changes its pace") {
  StepCosts costs;
  for (int i = 0; i < 50; ++i) costs.Add(kVision, 10, Ms(20));
  for (int i = 0; i < 50; ++i) costs.Add(kVision, 10, Ms(60));
  CHECK(InMs(costs.Estimate(kVision, 10)) == Approx(60).epsilon(0.01));
  for (int i = 0; i < 50; ++i) costs.Add(kDecode, 4, Ms(7));
  for (int i = 0; i < 50; ++i) costs.Add(kDecode, 4, Ms(14));
  CHECK(InMs(costs.Estimate(kDecode, 4)) == Approx(14).epsilon(0.01));
}

TEST_CASE("One step that took very long is no great matter") {
  StepCosts costs;
  for (int i = 0; i < 50; ++i) costs.Add(kDecode, 4, Ms(7));
  costs.Add(kDecode, 4, Ms(900));
  CHECK(costs.Estimate(kDecode, 4) < Ms(10));
  for (int i = 0; i < 50; ++i) costs.Add(kVision, 10, Ms(20));
  costs.Add(kVision, 10, Ms(900));
  CHECK(costs.Estimate(kVision, 10) < Ms(27));

  StepCosts slow_start;
  slow_start.Add(kDecode, 4, Ms(900));
  for (int i = 0; i < 8; ++i) slow_start.Add(kDecode, 4, Ms(7));
  CHECK(slow_start.Estimate(kDecode, 4) < Ms(11));
}

TEST_CASE("Steps that take no time leave nothing to divide by") {
  StepCosts costs;
  costs.Add(kVision, 4, absl::ZeroDuration());
  costs.Add(kPrefill, 64, absl::ZeroDuration());
  costs.Add(kDecode, 4, absl::ZeroDuration());
  CHECK(costs.SizeWithin(kVision, Ms(15)) == 8);
  CHECK(costs.SizeWithin(kPrefill, Ms(15)) == 128);
  CHECK(costs.SizeWithin(kPrefill, absl::ZeroDuration()) == 1);
}

}  // namespace
}  // namespace glimpse
