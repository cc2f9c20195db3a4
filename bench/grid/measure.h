// Times the steps of a batch on an engine.
#ifndef GLIMPSE_BENCH_GRID_MEASURE_H_
#define GLIMPSE_BENCH_GRID_MEASURE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "bench/grid/batch.h"
#include "engine/schedule/step_plan.h"

namespace glimpse::bench {

struct Effort {
  int warm_ups = 10;
  int runs = 50;
  // Of one stage of a cell. What takes long is repeated less often, but three times; a run that is
  // longer than the budget counts once, behind one warm-up.
  absl::Duration budget = absl::Seconds(5);
};

struct Stage {
  std::string name;                  // vision, prefill, first_token (the two together), decode
  std::vector<double> milliseconds;  // a run each
};

// Runs all stages of the batch. As in a server, a step is launched before the one before it is
// finished, as far as the runner's depth allows; a time is the wall clock's between the ends of
// steps, or from the start where nothing runs.
absl::StatusOr<std::vector<Stage>> Measure(StepRunner& runner, const Batch& batch,
                                           const Effort& effort);

}  // namespace glimpse::bench

#endif  // GLIMPSE_BENCH_GRID_MEASURE_H_
