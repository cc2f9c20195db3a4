#include "server/signals.h"

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <thread>

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

ServerSignals::ServerSignals() {
  const sigset_t set = HandledSet();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  // Waits for the next signal until the process ends, so nobody can join it; the object lives as
  // long as the process.
  std::thread([this] { Listen(); }).detach();
}

void ServerSignals::Listen() {
  for (;;) Take(WaitForSignal());
}

void ServerSignals::Take(int signal) {
  MutexLock lock(&mutex_);
  if (signal == SIGHUP) {
    reload_wanted_ = deferred_;
  } else if (!deferred_) {
    std::_Exit(0);
  } else if (end_wanted_) {
    std::fprintf(stderr, "ended by a second signal\n");
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

Wanted ServerSignals::Wait() {
  MutexLock lock(&mutex_);
  while (!end_wanted_ && !reload_wanted_) received_.Wait(&mutex_);
  if (end_wanted_) return Wanted::kEnd;
  reload_wanted_ = false;
  return Wanted::kReload;
}

}  // namespace glimpse
