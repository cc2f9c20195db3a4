// SIGTERM and SIGINT as something to wait for: a thread takes them with sigwait, so nothing runs
// inside a signal handler.
#ifndef GLIMPSE_SERVER_SIGNALS_H_
#define GLIMPSE_SERVER_SIGNALS_H_

#include "absl/base/thread_annotations.h"
#include "preprocess/mutex.h"

namespace glimpse {

// One in a process, made by main before any other thread: the threads inherit the blocked signals.
// The first signal ends Wait; so does one that came before. A second ends the process at once, with
// the shell's exit code for it, as does the first when it is not `deferred`.
class TerminationSignal {
 public:
  TerminationSignal();
  TerminationSignal(const TerminationSignal&) = delete;
  TerminationSignal& operator=(const TerminationSignal&) = delete;

  // From now on there is something to finish before the end. Until then a signal ends the process
  // at once with exit code 0: loading can't be interrupted and nobody waits for it.
  void Defer();

  // Blocks until the first signal. After Defer.
  void Wait();

 private:
  void Listen();

  Mutex mutex_;
  CondVar received_;
  bool deferred_ ABSL_GUARDED_BY(mutex_) = false;
  bool is_received_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace glimpse

#endif  // GLIMPSE_SERVER_SIGNALS_H_
