// SIGTERM, SIGINT and SIGHUP as something to wait for: a thread takes them with sigwait, so nothing
// runs inside a signal handler.
#ifndef GLIMPSE_SERVER_SIGNALS_H_
#define GLIMPSE_SERVER_SIGNALS_H_

#include "absl/base/thread_annotations.h"
#include "preprocess/mutex.h"

namespace glimpse {

enum class Wanted {
  kEnd,     // SIGTERM or SIGINT
  kReload,  // SIGHUP
};

// One in a process, made by main before any other thread: the threads inherit the blocked signals.
// The first SIGTERM or SIGINT ends Wait; so does one that came before. A second ends the process at
// once, with the shell's exit code for it, as does the first when it is not `deferred`. A SIGHUP
// before Defer is left out.
class ServerSignals {
 public:
  ServerSignals();
  ServerSignals(const ServerSignals&) = delete;
  ServerSignals& operator=(const ServerSignals&) = delete;

  // From now on there is something to finish before the end. Until then a signal ends the process
  // at once with exit code 0: loading can't be interrupted and nobody waits for it.
  void Defer();

  // Blocks until something is wanted; several SIGHUPs since the last call are one. After Defer.
  Wanted Wait();

 private:
  void Listen();
  void Take(int signal);

  Mutex mutex_;
  CondVar received_;
  bool deferred_ ABSL_GUARDED_BY(mutex_) = false;
  bool end_wanted_ ABSL_GUARDED_BY(mutex_) = false;
  bool reload_wanted_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace glimpse

#endif  // GLIMPSE_SERVER_SIGNALS_H_
