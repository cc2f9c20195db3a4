#include "server/signals.h"

#include <csignal>
#include <cstdlib>
#include <thread>
#include <utility>

#include "absl/time/clock.h"
#include "server/operator_line.h"

namespace glimpse {
namespace {

sigset_t HandledSet() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGHUP);
  return set;
}

int WaitForSignal() {
  const sigset_t set = HandledSet();
  int signal = 0;
  sigwait(&set, &signal);
  return signal;
}

}  // namespace

void ServerSignals::Listen() {
  const sigset_t set = HandledSet();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  // Waits for the next signal until the process ends, so nobody can join it.
  std::thread([this] {
    for (;;) Take(WaitForSignal());
  }).detach();
}

void ServerSignals::Take(int signal) {
  MutexLock lock(&mutex_);
  if (signal == SIGHUP) {
    reload_wanted_ = deferred_;
  } else if (!deferred_) {
    std::_Exit(0);
  } else if (end_wanted_) {
    TellOperator("ended by a second signal");
    std::_Exit(128 + signal);
  } else {
    end_wanted_ = true;
  }
  received_.NotifyAll();
}

void ServerSignals::Defer() {
  MutexLock lock(&mutex_);
  deferred_ = true;
}

Wanted ServerSignals::Wait(absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  MutexLock lock(&mutex_);
  while (!end_wanted_ && !reload_wanted_ && !woken_) {
    const absl::Duration left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) break;
    received_.WaitFor(&mutex_, left);
  }
  woken_ = false;
  if (end_wanted_) return Wanted::kEnd;
  return std::exchange(reload_wanted_, false) ? Wanted::kReload : Wanted::kNothing;
}

bool ServerSignals::end_wanted() const {
  MutexLock lock(&mutex_);
  return end_wanted_;
}

void ServerSignals::Wake() {
  MutexLock lock(&mutex_);
  woken_ = true;
  received_.NotifyAll();
}

}  // namespace glimpse
