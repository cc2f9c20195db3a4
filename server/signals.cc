#include "server/signals.h"

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <thread>

namespace glimpse {
namespace {

sigset_t TerminationSet() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  return set;
}

int WaitForSignal() {
  const sigset_t set = TerminationSet();
  int signal = 0;
  sigwait(&set, &signal);
  return signal;
}

}  // namespace

TerminationSignal::TerminationSignal() {
  const sigset_t set = TerminationSet();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  // Waits for the next signal until the process ends, so nobody can join it; the object lives as
  // long as the process.
  std::thread([this] { Listen(); }).detach();
}

void TerminationSignal::Listen() {
  WaitForSignal();
  {
    MutexLock lock(&mutex_);
    if (!deferred_) std::_Exit(0);
    is_received_ = true;
    received_.NotifyAll();
  }
  const int second = WaitForSignal();
  std::fprintf(stderr, "ended by a second signal\n");
  std::_Exit(128 + second);
}

void TerminationSignal::Defer() {
  MutexLock lock(&mutex_);
  deferred_ = true;
}

void TerminationSignal::Wait() {
  MutexLock lock(&mutex_);
  while (!is_received_) received_.Wait(&mutex_);
}

}  // namespace glimpse
