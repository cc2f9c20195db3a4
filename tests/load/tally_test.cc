#include "bench/load/tally.h"

#include <catch2/catch.hpp>

namespace glimpse::bench {
namespace {

absl::Time At(int ms) { return absl::UnixEpoch() + absl::Milliseconds(ms); }

CallProgress StartedAt(int ms) {
  CallProgress call;
  call.start = At(ms);
  return call;
}

TEST_CASE("a delta of k tokens counts as k gaps, and one delta gap") {
  Tally tally;
  const CallPlan plan;
  CallProgress call = StartedAt(0);
  tally.OnDelta(plan, 2, At(30), &call);  // the second of these two has no time of its own
  tally.OnDelta(plan, 1, At(40), &call);
  tally.OnDelta(plan, 4, At(60), &call);
  tally.OnEnd(plan, call, {"OK", "LENGTH"}, /*complete=*/true, At(61));

  const Latencies& text = tally.text();
  CHECK(call.tokens == 7);
  CHECK(text.first_token.count() == 1);
  CHECK(text.first_token.largest() == absl::Milliseconds(30));
  CHECK(text.inter_token.count() == 5);
  CHECK(text.inter_token.Mean() == absl::Milliseconds(6));  // 10, and four times 5
  CHECK(text.inter_token.largest() == absl::Milliseconds(10));
  CHECK(text.delta_gap.count() == 2);
  CHECK(text.delta_gap.largest() == absl::Milliseconds(20));
  CHECK(text.total.largest() == absl::Milliseconds(61));
}

TEST_CASE("a delta without tokens is no token") {
  Tally tally;
  const CallPlan plan;
  CallProgress call = StartedAt(0);
  tally.OnDelta(plan, 0, At(5), &call);
  CHECK(tally.text().first_token.count() == 0);
  tally.OnDelta(plan, 1, At(10), &call);
  tally.OnDelta(plan, 0, At(20), &call);
  tally.OnDelta(plan, 1, At(30), &call);
  CHECK(tally.text().first_token.largest() == absl::Milliseconds(10));
  CHECK(tally.text().inter_token.largest() == absl::Milliseconds(20));
}

TEST_CASE("pictures have times of their own") {
  Tally tally;
  CallPlan plan;
  plan.picture = true;
  CallProgress call = StartedAt(0);
  tally.OnDelta(plan, 1, At(10), &call);
  CHECK(tally.picture().first_token.count() == 1);
  CHECK(tally.text().first_token.count() == 0);
}

TEST_CASE("calls that are not measured, and incomplete ones, leave only their end") {
  Tally tally;
  const CallPlan plan;
  CallProgress warm_up = StartedAt(0);
  warm_up.measured = false;
  tally.OnDelta(plan, 1, At(10), &warm_up);
  tally.OnDelta(plan, 1, At(20), &warm_up);
  tally.OnEnd(plan, warm_up, {"OK", "LENGTH"}, /*complete=*/true, At(30));
  CallProgress refused = StartedAt(0);
  tally.OnEnd(plan, refused, {"RESOURCE_EXHAUSTED", "QUEUE_FULL"}, /*complete=*/false, At(2));
  CHECK(warm_up.tokens == 2);
  CHECK(tally.text().first_token.count() == 0);
  CHECK(tally.text().inter_token.count() == 0);
  CHECK(tally.text().total.count() == 0);
  CHECK(tally.ends().at({"OK", "LENGTH"}).largest() == absl::Milliseconds(30));
  CHECK(tally.ends().at({"RESOURCE_EXHAUSTED", "QUEUE_FULL"}).largest() == absl::Milliseconds(2));
}

TEST_CASE("tallies add up") {
  Tally one, other;
  const CallPlan plan;
  for (Tally* tally : {&one, &other}) {
    CallProgress call = StartedAt(0);
    tally->OnDelta(plan, 1, At(10), &call);
    tally->OnEnd(plan, call, {"OK", "STOP"}, /*complete=*/true, At(20));
    tally->OnLateArrival(absl::Milliseconds(1));
  }
  one.Merge(other);
  CHECK(one.text().first_token.count() == 2);
  CHECK(one.text().total.count() == 2);
  CHECK(one.ends().at({"OK", "STOP"}).count() == 2);
  CHECK(one.lateness().count() == 2);
}

TEST_CASE("an answer is good if it meets each objective") {
  Tally tally;
  const CallPlan plan;
  CallProgress call = StartedAt(0);
  tally.OnDelta(plan, 1, At(100), &call);
  tally.OnDelta(plan, 2, At(120), &call);
  tally.OnDelta(plan, 2, At(180), &call);  // on average 20 ms after each other
  const auto ms = [](int number) { return absl::Milliseconds(number); };
  const absl::Duration any = absl::InfiniteDuration();
  CHECK(Meets({}, call, At(190)));
  CHECK(Meets({ms(100), ms(20), ms(190)}, call, At(190)));
  CHECK_FALSE(Meets({ms(99), any, any}, call, At(190)));
  CHECK_FALSE(Meets({any, ms(19), any}, call, At(190)));
  CHECK_FALSE(Meets({any, any, ms(189)}, call, At(190)));
}

TEST_CASE("an answer of one delta has no gaps to be judged by") {
  Tally tally;
  CallProgress call = StartedAt(0);
  tally.OnDelta(CallPlan(), 5, At(10), &call);
  CHECK(
      Meets({absl::Milliseconds(10), absl::ZeroDuration(), absl::Milliseconds(20)}, call, At(20)));
}

}  // namespace
}  // namespace glimpse::bench
