// Which calls the server takes: none while it loads or loads anew, none while it drains, and no
// more bytes of unprepared requests than it has room for. Counts the calls that are there, so that
// a drain can wait for them.
//
// This is a shared mutable object of its own because it covers what RequestQueue can't: a call from
// its first byte, before there is anything to queue, to its last, after the queue has let it go.
//
// Safe for all threads. Only WaitUntilEmpty blocks.
#ifndef GLIMPSE_SERVER_ADMISSION_H_
#define GLIMPSE_SERVER_ADMISSION_H_

#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "preprocess/mutex.h"

namespace glimpse {

class Admission {
 public:
  // `max_preparing_bytes` bounds the sum over calls between Enter and Prepared; >= 1.
  explicit Admission(int64_t max_preparing_bytes) : max_preparing_bytes_(max_preparing_bytes) {}

  void Open();     // loaded: calls are taken from now on, unless Close came first
  void Suspend();  // loading anew: none are taken until the next Open
  void Close();    // draining: no more calls are taken, for good

  // OK: the call is in, and owes one Prepared with the same bytes and then one Leave. Otherwise
  // LOADING, DRAINING or QUEUE_FULL as in status.h.
  absl::Status Enter(int64_t bytes);
  void Prepared(int64_t bytes);
  void Leave();

  // True when no call is in; false when `timeout` of real time has passed before.
  bool WaitUntilEmpty(absl::Duration timeout);

  int calls() const;

 private:
  enum class State { kLoading, kOpen, kDraining };

  const int64_t max_preparing_bytes_;

  mutable Mutex mutex_;
  CondVar empty_;
  State state_ ABSL_GUARDED_BY(mutex_) = State::kLoading;
  int calls_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t preparing_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace glimpse

#endif  // GLIMPSE_SERVER_ADMISSION_H_
