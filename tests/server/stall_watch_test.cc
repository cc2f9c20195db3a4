#include "server/stall_watch.h"

#include <catch2/catch.hpp>
#include <memory>

#include "absl/time/clock.h"
#include "preprocess/mutex.h"

namespace glimpse {
namespace {

constexpr absl::Duration kTimeout = absl::Milliseconds(20);

// Counts the cuts of a watch.
class Cuts {
 public:
  void Add() {
    MutexLock lock(&mutex_);
    ++count_;
    changed_.NotifyAll();
  }
  void WaitForOne() {
    MutexLock lock(&mutex_);
    while (count_ == 0) changed_.Wait(&mutex_);
  }
  int count() {
    MutexLock lock(&mutex_);
    return count_;
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  int count_ ABSL_GUARDED_BY(mutex_) = 0;
};

TEST_CASE("a write that does not end is cut once its time is over") {
  Cuts cuts;
  StallWatch watch(kTimeout, [&] { cuts.Add(); });
  watch.WriteBegins();
  watch.WriteEnds();
  const absl::Time start = absl::Now();
  watch.WriteBegins();
  cuts.WaitForOne();
  CHECK(absl::Now() - start >= kTimeout);
}

TEST_CASE("a stalled write is cut once, and the others' watches go on") {
  Cuts cuts, others;
  StallWatch stalled(kTimeout, [&] { cuts.Add(); });
  StallWatch idle(kTimeout / 10, [&] { others.Add(); });
  StallWatch later(kTimeout * 3, [&] { cuts.Add(); });
  stalled.WriteBegins();
  cuts.WaitForOne();
  later.WriteBegins();
  while (cuts.count() < 2) absl::SleepFor(kTimeout / 10);
  CHECK(cuts.count() == 2);
  CHECK(others.count() == 0);
}

TEST_CASE("a watch that is gone cuts nothing, whatever its alarm does at that moment") {
  constexpr int kRounds = 200;
  Cuts cuts[kRounds];
  int when_gone[kRounds];
  for (int round = 0; round < kRounds; ++round) {
    auto watch = std::make_unique<StallWatch>(absl::Microseconds(500),
                                              [&cuts, round] { cuts[round].Add(); });
    watch->WriteBegins();
    absl::SleepFor(absl::Microseconds(10 * round));  // to before the cut, into it or past it
    watch.reset();
    when_gone[round] = cuts[round].count();
  }
  // The alarms of most rounds would have rung by now.
  for (int round = 0; round < kRounds; ++round) CHECK(cuts[round].count() == when_gone[round]);
}

}  // namespace
}  // namespace glimpse
