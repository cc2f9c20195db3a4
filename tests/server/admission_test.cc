#include "server/admission.h"

#include <catch2/catch.hpp>
#include <thread>

#include "tests/server/status_details.h"

namespace glimpse {
namespace {

std::string Refusal(Admission& admission, int64_t bytes = 1) {
  const absl::Status status = admission.Enter(bytes);
  return status.ok() ? "" : DetailsOf(status).reason;
}

TEST_CASE("calls are taken between loading and draining") {
  Admission admission(100);
  CHECK(Refusal(admission) == "LOADING");
  admission.Open();
  CHECK(Refusal(admission) == "");
  admission.Close();
  CHECK(Refusal(admission) == "DRAINING");
  CHECK(admission.calls() == 1);
}

TEST_CASE("a drain that came while loading stays") {
  Admission admission(100);
  admission.Close();
  admission.Open();
  CHECK(Refusal(admission) == "DRAINING");
}

TEST_CASE("no call is taken while the weights are loaded anew, and a drain outlasts that") {
  Admission admission(100);
  admission.Suspend();  // loading still: nothing to suspend
  admission.Open();
  CHECK(Refusal(admission) == "");
  admission.Suspend();
  CHECK(Refusal(admission) == "LOADING");
  CHECK(admission.calls() == 1);
  admission.Open();
  CHECK(Refusal(admission) == "");
  admission.Close();
  admission.Suspend();
  admission.Open();
  CHECK(Refusal(admission) == "DRAINING");
}

TEST_CASE("unprepared requests have room for so many bytes") {
  Admission admission(100);
  admission.Open();
  CHECK(Refusal(admission, 60) == "");
  CHECK(Refusal(admission, 41) == "QUEUE_FULL");
  CHECK(Refusal(admission, 40) == "");
  admission.Prepared(60);
  CHECK(Refusal(admission, 60) == "");
  CHECK(admission.calls() == 3);
}

TEST_CASE("a drain waits for the last call") {
  Admission admission(100);
  admission.Open();
  CHECK(admission.WaitUntilEmpty(absl::ZeroDuration()));
  REQUIRE(admission.Enter(1).ok());
  REQUIRE(admission.Enter(1).ok());
  CHECK_FALSE(admission.WaitUntilEmpty(absl::ZeroDuration()));
  std::thread calls([&] {
    admission.Leave();
    admission.Leave();
  });
  CHECK(admission.WaitUntilEmpty(absl::InfiniteDuration()));
  CHECK(admission.calls() == 0);
  calls.join();
}

}  // namespace
}  // namespace glimpse
