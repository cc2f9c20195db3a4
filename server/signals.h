// SIGTERM, SIGINT and SIGHUP as something to wait for: a thread takes them with sigwait, so nothing
// runs inside a signal handler.
#ifndef GLIMPSE_SERVER_SIGNALS_H_
#define GLIMPSE_SERVER_SIGNALS_H_

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "preprocess/mutex.h"

namespace glimpse {

enum class Wanted {
  kNothing,
  kEnd,     // SIGTERM or SIGINT
  kReload,  // SIGHUP
};

// One in a process. The first SIGTERM or SIGINT ends Wait; so does one that came before. A second
// ends the process at once, with the shell's exit code for it, as does the first when it is not
// `deferred`. A SIGHUP before Defer is left out. Thread-safe.
class ServerSignals {
 public:
  ServerSignals() = default;
  ServerSignals(const ServerSignals&) = delete;
  ServerSignals& operator=(const ServerSignals&) = delete;

  // Starts to take the process's signals. Called once, before any other thread starts: the threads
  // inherit the blocked signals. From here on the object has to live as long as the process.
  void Listen();

  // One signal: what Listen's thread calls, and a test in its place.
  void Take(int signal);

  // From now on there is something to finish before the end. Until then a signal ends the process
  // at once with exit code 0: loading can't be interrupted and nobody waits for it.
  void Defer();

  // Blocks until something is wanted, somebody called Wake, or `timeout` of real time has passed;
  // the last two are kNothing. Several SIGHUPs since the last call are one, and an end comes before
  // them and is said again in each call. After Defer.
  Wanted Wait(absl::Duration timeout);

  // Whether Wait would say kEnd.
  bool end_wanted() const;

  // Makes the present or the next Wait return.
  void Wake();

 private:
  mutable Mutex mutex_;
  CondVar received_;
  bool deferred_ ABSL_GUARDED_BY(mutex_) = false;
  bool end_wanted_ ABSL_GUARDED_BY(mutex_) = false;
  bool reload_wanted_ ABSL_GUARDED_BY(mutex_) = false;
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace glimpse

#endif  // GLIMPSE_SERVER_SIGNALS_H_
