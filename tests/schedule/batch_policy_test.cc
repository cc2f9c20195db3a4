#include "engine/schedule/batch_policy.h"

#include <catch2/catch.hpp>
#include <vector>

namespace glimpse {
namespace {

const std::vector<int> kSizes = {4, 8, 16, 32, 64};
using Kind = BatchPolicyKind;

LoadStats Load(int running, int waiting) {
  LoadStats load;
  load.running = running;
  load.waiting = waiting;
  return load;
}

int BatchSize(Kind kind, const LoadStats& load, int max_batch_size = 64) {
  return ChooseTargets(kind, load, kSizes, max_batch_size).batch_size;
}

TEST_CASE("Realtime and balanced keep to their size, whoever waits") {
  CHECK(BatchSize(Kind::kRealtime, Load(0, 0)) == 2);
  CHECK(BatchSize(Kind::kRealtime, Load(2, 100)) == 2);
  CHECK(BatchSize(Kind::kBalanced, Load(0, 0)) == 4);
  CHECK(BatchSize(Kind::kBalanced, Load(4, 100)) == 4);
}

TEST_CASE("Offline starts at 8 and takes the size that holds all there are") {
  CHECK(BatchSize(Kind::kOffline, Load(0, 0)) == 8);
  CHECK(BatchSize(Kind::kOffline, Load(3, 5)) == 8);
  CHECK(BatchSize(Kind::kOffline, Load(3, 6)) == 16);
  CHECK(BatchSize(Kind::kOffline, Load(16, 1)) == 32);
  CHECK(BatchSize(Kind::kOffline, Load(64, 1000)) == 64);
}

TEST_CASE("Auto starts at 4, grows at once to what is there, and to the most") {
  CHECK(BatchSize(Kind::kAuto, Load(0, 0)) == 4);
  CHECK(BatchSize(Kind::kAuto, Load(4, 1)) == 8);
  CHECK(BatchSize(Kind::kAuto, Load(8, 9)) == 32);
  CHECK(BatchSize(Kind::kAuto, Load(33, 0)) == 64);
  CHECK(BatchSize(Kind::kAuto, Load(64, 1000000)) == 64);
  CHECK(BatchSize(Kind::kAuto, Load(20, 80), /*max_batch_size=*/100) == 100);
}

TEST_CASE("Auto keeps room for the requests that are to be expected") {
  LoadStats load = Load(1, 0);
  load.arrivals_per_second = 5;
  load.stay = absl::Seconds(2);  // ten at the same time
  CHECK(BatchSize(Kind::kAuto, load) == 16);
  load.arrivals_per_second = 4;  // eight
  CHECK(BatchSize(Kind::kAuto, load) == 8);
  load.arrivals_per_second = 0.1;
  CHECK(BatchSize(Kind::kAuto, load) == 4);
  load.arrivals_per_second = 1e12;
  CHECK(BatchSize(Kind::kAuto, load) == 64);
}

TEST_CASE("No policy wants more than the most, with sizes or without") {
  for (Kind kind : {Kind::kAuto, Kind::kRealtime, Kind::kBalanced, Kind::kOffline}) {
    for (int most : {1, 3, 7}) {
      CHECK(BatchSize(kind, Load(most, 1000), most) <= most);
      CHECK(ChooseTargets(kind, Load(most, 1000), {}, most).batch_size <= most);
    }
  }
  CHECK(BatchSize(Kind::kAuto, Load(6, 1), 7) == 7);
  CHECK(ChooseTargets(Kind::kAuto, Load(4, 1), {}, 64).batch_size == 5);
}

TEST_CASE("Times of the policies") {
  const auto targets = [](Kind kind) { return ChooseTargets(kind, Load(0, 0), kSizes, 64); };
  CHECK(targets(Kind::kRealtime).stall_budget == absl::Milliseconds(8));
  CHECK(targets(Kind::kBalanced).stall_budget == absl::Milliseconds(15));
  CHECK(targets(Kind::kAuto).stall_budget == absl::Milliseconds(15));
  CHECK(targets(Kind::kOffline).stall_budget == absl::Milliseconds(100));
  CHECK(targets(Kind::kRealtime).longest_wait == absl::ZeroDuration());
  CHECK(targets(Kind::kBalanced).longest_wait == absl::ZeroDuration());
  CHECK(targets(Kind::kAuto).longest_wait == absl::ZeroDuration());
  CHECK(targets(Kind::kOffline).longest_wait == absl::Milliseconds(50));
}

}  // namespace
}  // namespace glimpse
