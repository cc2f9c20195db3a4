// What glimpse-load's flags say, checked.
#ifndef GLIMPSE_BENCH_LOAD_LOAD_OPTIONS_H_
#define GLIMPSE_BENCH_LOAD_LOAD_OPTIONS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "bench/load/call_plan.h"
#include "bench/load/tally.h"

namespace glimpse::bench {

struct LoadOptions {
  std::string server;        // host:port
  double rate = 0;           // calls a second of an open loop; 0: a closed loop
  bool steady = false;       // equal times between them; otherwise random (Poisson)
  int concurrency = 0;       // calls at the same time, of a closed loop
  absl::Duration duration;   // of sending calls; infinite: until `requests` are sent
  int64_t requests = 0;      // calls, at most
  absl::Duration warm_up;    // at the start: not measured
  absl::Duration drain;      // after `duration`, for calls that still run
  absl::Duration pause;      // of a closed loop's place after a call that failed
  absl::Duration deadline;   // of each call; may be infinite
  absl::Duration slow_read;  // a slow reader's time between reads; infinite: never
  CallMix mix;
  std::vector<std::string> picture_files;  // empty: pictures are made
  int picture_side = 0;
  std::optional<float> temperature;  // none: the server's
  Objectives objectives;
  uint64_t seed = 0;
  int threads = 0;
  int connections = 0;  // >= threads
  int server_pid = 0;   // whose CPU time is reported; 0: none
  std::string json;     // file; empty: none
  std::string label;    // for the report
};

// INVALID_ARGUMENT, in one line with the flag's name. After absl::ParseCommandLine.
absl::StatusOr<LoadOptions> LoadOptionsFromFlags();

}  // namespace glimpse::bench

#endif  // GLIMPSE_BENCH_LOAD_LOAD_OPTIONS_H_
