// A load test from its first call to its last.
#ifndef GLIMPSE_BENCH_LOAD_RUN_H_
#define GLIMPSE_BENCH_LOAD_RUN_H_

#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "bench/load/load_options.h"
#include "bench/load/tally.h"
#include "bench/load/target.h"

namespace glimpse::bench {

// Counts since the start of the run, at one time of it.
struct Snapshot {
  absl::Duration since_start;
  int64_t running = 0;
  int64_t completed = 0;
  int64_t good = 0;
  int64_t cancelled = 0;
  int64_t failed = 0;
  int64_t wrong = 0;
  int64_t tokens = 0;
  int64_t good_tokens = 0;
  int64_t messages = 0;
  absl::Duration own_cpu;
  absl::Duration server_cpu;  // zero where it is not known
};

struct RunResult {
  // The measured time lies between these two: from the end of the warm-up to the end of sending, or
  // without a duration to the end of the last call.
  Snapshot from, to;
  Snapshot end;  // after the last call
  std::vector<Snapshot> seconds;
  Tally tally;  // of which calls: see tally.h
};

// Prints a progress line on standard error each second.
RunResult RunLoad(const LoadOptions& options, const Target& target);

}  // namespace glimpse::bench

#endif  // GLIMPSE_BENCH_LOAD_RUN_H_
