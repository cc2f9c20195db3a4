#include "preprocess/fail_point.h"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace glimpse {
namespace {

// Which of the next passages of kLaunch fail.
std::vector<bool> Failures(int passages) {
  std::vector<bool> failures;
  for (int i = 0; i < passages; ++i) failures.push_back(!PassFailPoint(FailPoint::kLaunch).ok());
  return failures;
}

int Count(const std::vector<bool>& failures) {
  int count = 0;
  for (const bool failed : failures) count += failed;
  return count;
}

TEST_CASE("a build without fail points takes no spec but the empty one") {
  if (HasFailPoints()) return;
  CHECK(absl::IsFailedPrecondition(SetFailPoints("launch=yield(1)", 1)));
  CHECK(SetFailPoints("", 1).ok());
  CHECK(GLIMPSE_FAIL_POINT(kLaunch).ok());
}

TEST_CASE("a fail point fails as often as its spec says, and at the same passages each run") {
  if (!HasFailPoints()) return;
  REQUIRE(SetFailPoints("launch=error(0.25)", 7).ok());
  const std::vector<bool> first = Failures(4000);
  CHECK(Count(first) > 850);
  CHECK(Count(first) < 1150);
  REQUIRE(SetFailPoints("launch=error(0.25)", 7).ok());
  CHECK(Failures(4000) == first);
  REQUIRE(SetFailPoints("launch=error(0.25)", 8).ok());
  CHECK(Failures(4000) != first);
  REQUIRE(SetFailPoints("queue=error(1)", 7).ok());
  CHECK(Count(Failures(100)) == 0);
  CHECK(absl::IsInternal(GLIMPSE_FAIL_POINT(kQueue)));
  REQUIRE(SetFailPoints("", 7).ok());
  CHECK(GLIMPSE_FAIL_POINT(kQueue).ok());
}

TEST_CASE("a fail point delays, within the bound of its spec") {
  if (!HasFailPoints()) return;
  REQUIRE(SetFailPoints("write=delay(2ms;1),write=yield(1)", 3).ok());
  const absl::Time start = absl::Now();
  for (int i = 0; i < 20; ++i) CHECK(GLIMPSE_FAIL_POINT(kWrite).ok());
  CHECK(absl::Now() - start > absl::Milliseconds(2));  // 20 ms on average
  REQUIRE(SetFailPoints("", 0).ok());
}

TEST_CASE("a spec that is none is refused, and changes nothing") {
  if (!HasFailPoints()) return;
  REQUIRE(SetFailPoints("launch=error(1)", 0).ok());
  for (const char* bad : {"launch", "launch=", "launch=error", "launch=error()", "launch=error(2)",
                          "launch=error(nan)", "launch=delay(0.5)", "launch=delay(x;0.5)",
                          "nowhere=yield(1)", "write=error(1)", "queue=yield(1),launch=stop(1)"}) {
    INFO(bad);
    CHECK(absl::IsInvalidArgument(SetFailPoints(bad, 0)));
  }
  CHECK(Count(Failures(3)) == 3);
  REQUIRE(SetFailPoints("", 0).ok());
}

}  // namespace
}  // namespace glimpse
