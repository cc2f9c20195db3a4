// Which functions of CUDA a program calls, counted by CUPTI while they are made.
#ifndef GLIMPSE_BENCH_TRACE_API_LOG_H_
#define GLIMPSE_BENCH_TRACE_API_LOG_H_

#include <map>
#include <memory>
#include <string>
#include <utility>

namespace glimpse::bench {

struct ApiCalls {
  int count = 0;
  double host_us = 0;  // of all of them
};

// One at a time, and on one thread: calls of other threads are not to happen while it lives. A
// driver function that a function of the runtime calls is part of that one.
class ApiLog {
 public:
  ApiLog();
  ~ApiLog();
  ApiLog(const ApiLog&) = delete;
  ApiLog& operator=(const ApiLog&) = delete;

  // What the calls from now on belong to.
  void EnterPhase(std::string phase) { phase_ = std::move(phase); }

  using Calls = std::map<std::pair<std::string, std::string>, ApiCalls>;  // by phase and name
  const Calls& calls() const { return calls_; }

  struct State;  // of CUPTI

 private:
  void Note(const char* name, double host_us);

  std::unique_ptr<State> state_;
  std::string phase_;
  Calls calls_;
};

}  // namespace glimpse::bench

#endif  // GLIMPSE_BENCH_TRACE_API_LOG_H_
