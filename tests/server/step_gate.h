// Lets a test hold the engine before a step: give `Pass` to FakeEngineOptions::on_launch.
#ifndef GLIMPSE_TESTS_SERVER_STEP_GATE_H_
#define GLIMPSE_TESTS_SERVER_STEP_GATE_H_

#include <cstdint>
#include <limits>

#include "absl/base/thread_annotations.h"
#include "preprocess/mutex.h"

namespace glimpse {

// Open at first. Thread-safe.
class StepGate {
 public:
  // The engine's side: blocks while no step is allowed.
  void Pass() {
    MutexLock lock(&mutex_);
    ++waiting_;
    changed_.NotifyAll();
    while (allowed_ == 0) changed_.Wait(&mutex_);
    --waiting_;
    if (allowed_ != kUnlimited) --allowed_;
  }

  void Close() { Allow(0); }
  void Open() { Allow(kUnlimited); }
  // From now on this many steps and no more.
  void Allow(int64_t steps) {
    MutexLock lock(&mutex_);
    allowed_ = steps;
    changed_.NotifyAll();
  }

  // Returns when the engine stands before the closed gate.
  void WaitUntilHeld() {
    MutexLock lock(&mutex_);
    while (waiting_ == 0 || allowed_ > 0) changed_.Wait(&mutex_);
  }

 private:
  static constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();

  Mutex mutex_;
  CondVar changed_;
  int64_t allowed_ ABSL_GUARDED_BY(mutex_) = kUnlimited;
  int waiting_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace glimpse

#endif  // GLIMPSE_TESTS_SERVER_STEP_GATE_H_
