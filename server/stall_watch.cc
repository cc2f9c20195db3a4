// An alarm rings every `timeout` and looks whether the write that it saw at its last ring is still
// under way. That costs a call one alarm, whatever the number of its writes.
//
// `cut` runs under the mutex, which is what lets the destructor wait for it. It may cancel the call
// all the same, though that ends in the watch's destructor: gRPC runs the callbacks that come of it
// on other threads, or on this one after the alarm's own callback has returned, never inside it.
#include "server/stall_watch.h"

#include <grpcpp/alarm.h>

#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/time/clock.h"
#include "preprocess/mutex.h"

namespace glimpse {

struct StallWatch::State {
  // Odd while a write is under way.
  std::atomic<int64_t> turns = 0;

  const absl::Duration timeout;
  Mutex mutex;
  std::function<void()> cut ABSL_GUARDED_BY(mutex);  // empty: the watch is over
  int64_t last_turns ABSL_GUARDED_BY(mutex) = 0;
  // A new one for each ring: an alarm can't be set again while its callback runs.
  std::unique_ptr<grpc::Alarm> alarm ABSL_GUARDED_BY(mutex);

  State(absl::Duration timeout, std::function<void()> cut)
      : timeout(timeout), cut(std::move(cut)) {}

  static void Arm(const std::shared_ptr<State>& state) ABSL_EXCLUSIVE_LOCKS_REQUIRED(state->mutex) {
    auto next = std::make_unique<grpc::Alarm>();
    next->Set(absl::ToChronoTime(absl::Now() + state->timeout), [state](bool) {
      MutexLock lock(&state->mutex);
      Ring(state);
    });
    state->alarm.swap(next);
  }

  static void Ring(const std::shared_ptr<State>& state)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(state->mutex) {
    if (!state->cut) return;
    const int64_t now = state->turns;
    const bool stalled = now % 2 == 1 && now == state->last_turns;
    state->last_turns = now;
    if (stalled) {
      std::exchange(state->cut, nullptr)();
    } else {
      Arm(state);
    }
  }
};

StallWatch::StallWatch(absl::Duration timeout, std::function<void()> cut)
    : state_(std::make_shared<State>(timeout, std::move(cut))) {
  MutexLock lock(&state_->mutex);
  State::Arm(state_);
}

StallWatch::~StallWatch() {
  std::unique_ptr<grpc::Alarm> alarm;
  MutexLock lock(&state_->mutex);
  state_->cut = nullptr;
  // Cancelled without the lock: where it is gRPC's last object, gRPC waits there for callbacks.
  alarm = std::move(state_->alarm);
}

void StallWatch::WriteBegins() { ++state_->turns; }

void StallWatch::WriteEnds() { ++state_->turns; }

}  // namespace glimpse
