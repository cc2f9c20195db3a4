#include "bench/load/run.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>
#include <thread>

#include "absl/time/clock.h"
#include "bench/load/cpu_time.h"
#include "bench/load/worker.h"
#include "preprocess/mutex.h"

namespace glimpse::bench {
namespace {

Snapshot Take(const Counters& counters, const LoadOptions& options, absl::Time start) {
  Snapshot now;
  now.since_start = absl::Now() - start;
  now.running = counters.running;
  now.completed = counters.completed;
  now.good = counters.good;
  now.cancelled = counters.cancelled;
  now.failed = counters.failed;
  now.wrong = counters.wrong;
  now.tokens = counters.tokens;
  now.good_tokens = counters.good_tokens;
  now.messages = counters.messages;
  now.own_cpu = OwnCpuTime();
  if (options.server_pid > 0) {
    now.server_cpu = CpuTimeOf(options.server_pid).value_or(absl::ZeroDuration());
  }
  return now;
}

void PrintProgress(const Snapshot& before, const Snapshot& now) {
  const bool terminal = isatty(STDERR_FILENO) != 0;
  const double seconds = absl::ToDoubleSeconds(now.since_start - before.since_start);
  const double rate = static_cast<double>(now.tokens - before.tokens) / std::max(seconds, 1e-9);
  std::fprintf(stderr,
               "%s%.0f s: %ld running, %ld completed, %ld cancelled, %ld failed, %.0f tokens/s%s",
               terminal ? "\r\033[K" : "", absl::ToDoubleSeconds(now.since_start), now.running,
               now.completed, now.cancelled, now.failed + now.wrong, rate, terminal ? "" : "\n");
}

// Lets the main thread wait for the workers, but not for longer than it wants.
class Finish {
 public:
  void Signal() {
    MutexLock lock(&mutex_);
    done_ = true;
    changed_.NotifyAll();
  }
  // False: `deadline` came first.
  bool WaitUntil(absl::Time deadline) {
    MutexLock lock(&mutex_);
    while (!done_) {
      const absl::Duration left = deadline - absl::Now();
      if (left <= absl::ZeroDuration()) return false;
      changed_.WaitFor(&mutex_, left);
    }
    return true;
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  bool done_ ABSL_GUARDED_BY(mutex_) = false;
};

// Takes the snapshots of `result` as their times come; returns after the last call.
void Watch(const LoadOptions& options, absl::Time start, const Counters& counters, Finish& finish,
           RunResult* result) {
  const absl::Time from = start + options.warm_up, to = start + options.duration;
  absl::Time next_second = start + absl::Seconds(1);
  std::optional<Snapshot> at_from, at_to;
  result->seconds.push_back(Take(counters, options, start));
  while (true) {
    absl::Time next = next_second;
    if (!at_from.has_value()) next = std::min(next, from);
    if (!at_to.has_value()) next = std::min(next, to);
    const bool finished = finish.WaitUntil(next);
    const Snapshot now = Take(counters, options, start);
    if (!at_from.has_value() && (next == from || finished)) at_from = now;
    if (!at_to.has_value() && (next == to || finished)) at_to = now;
    if (next == next_second || finished) {
      PrintProgress(result->seconds.back(), now);
      result->seconds.push_back(now);
      next_second += absl::Seconds(1);
    }
    if (!finished) continue;
    result->from = *at_from;
    result->to = *at_to;
    result->end = now;
    if (isatty(STDERR_FILENO) != 0) std::fputc('\n', stderr);
    return;
  }
}

}  // namespace

RunResult RunLoad(const LoadOptions& options, const Target& target) {
  Counters counters;
  const absl::Time start = absl::Now();
  std::vector<std::unique_ptr<Worker>> workers;
  std::vector<std::thread> threads;
  Finish finish;
  std::atomic<int> at_work = options.threads;
  for (int i = 0; i < options.threads; ++i) {
    workers.push_back(std::make_unique<Worker>(options, target, i, start, &counters));
  }
  for (const auto& worker : workers) {
    threads.emplace_back([&] {
      worker->Run();
      if (--at_work == 0) finish.Signal();
    });
  }
  RunResult result;
  Watch(options, start, counters, finish, &result);
  for (size_t i = 0; i < workers.size(); ++i) {
    threads[i].join();
    result.tally.Merge(workers[i]->tally());
  }
  return result;
}

}  // namespace glimpse::bench
