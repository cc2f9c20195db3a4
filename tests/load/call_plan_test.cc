#include "bench/load/call_plan.h"

#include <catch2/catch.hpp>

namespace glimpse::bench {
namespace {

constexpr int kCalls = 4000;

TEST_CASE("the same seed and number give the same call, others give others") {
  CallMix mix;
  std::string error;
  REQUIRE(AbslParseFlag("1:1000000", &mix.prompt_tokens, &error));
  CHECK(PlanCall(mix, 5, 17).prompt_tokens == PlanCall(mix, 5, 17).prompt_tokens);
  CHECK(PlanCall(mix, 5, 17).prompt_tokens != PlanCall(mix, 5, 18).prompt_tokens);
  CHECK(PlanCall(mix, 5, 17).prompt_tokens != PlanCall(mix, 6, 17).prompt_tokens);
}

TEST_CASE("shares are those of many calls") {
  CallMix mix;
  mix.picture_share = 0.1;
  mix.slow_share = 0.25;
  mix.cancel_share = 0.5;
  int pictures = 0, slow = 0, cancelled = 0;
  for (int i = 0; i < kCalls; ++i) {
    const CallPlan plan = PlanCall(mix, 1, i);
    pictures += plan.picture;
    slow += plan.slow_reader;
    cancelled += plan.cancel_after != CallPlan::kNever;
  }
  CHECK(pictures == Approx(0.1 * kCalls).margin(100));
  CHECK(slow == Approx(0.25 * kCalls).margin(150));
  CHECK(cancelled == Approx(0.5 * kCalls).margin(150));
}

TEST_CASE("shares of nothing and all are exact") {
  CallMix mix;
  mix.cancel_share = 1;
  for (int i = 0; i < 100; ++i) {
    const CallPlan plan = PlanCall(mix, 1, i);
    CHECK_FALSE(plan.picture);
    CHECK_FALSE(plan.slow_reader);
    CHECK(plan.cancel_after != CallPlan::kNever);
  }
}

TEST_CASE("cancels come at every phase and none after the answer") {
  CallMix mix;
  mix.answer_tokens = Lengths(3);
  mix.cancel_share = 1;
  int count[6] = {};
  for (int i = 0; i < kCalls; ++i) {
    const int after = PlanCall(mix, 1, i).cancel_after;
    REQUIRE(after >= CallPlan::kAtOnce);
    REQUIRE(after <= 3);
    ++count[after - CallPlan::kAtOnce];
  }
  for (const int times : count) CHECK(times == Approx(kCalls / 6).margin(150));
}

}  // namespace
}  // namespace glimpse::bench
