// Dies(f): whether `f` ends the process with abort(), tried in a child process.
#ifndef GLIMPSE_TESTS_SCHEDULE_DEATH_H_
#define GLIMPSE_TESTS_SCHEDULE_DEATH_H_

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <functional>

namespace glimpse {

inline bool Dies(const std::function<void()>& f) {
  std::fflush(nullptr);  // or the child would print it again
  const pid_t child = fork();
  if (child == 0) {
    std::signal(SIGABRT, SIG_DFL);  // Catch2 catches it
    if (std::freopen("/dev/null", "w", stderr) == nullptr) _exit(1);
    f();
    _exit(0);
  }
  int state = 0;
  waitpid(child, &state, 0);
  return WIFSIGNALED(state) && WTERMSIG(state) == SIGABRT;
}

}  // namespace glimpse

#endif  // GLIMPSE_TESTS_SCHEDULE_DEATH_H_
