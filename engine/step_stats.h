// What the engine counts, as plain values: for the operator's log and metrics, and for benchmarks.
#ifndef GLIMPSE_ENGINE_STEP_STATS_H_
#define GLIMPSE_ENGINE_STEP_STATS_H_

#include <compare>
#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "engine/schedule/step_plan.h"

namespace glimpse {

struct GraphKey {
  StepKind kind = StepKind::kIdle;
  int bucket = 0;  // decode: rows; prefill: tokens
  auto operator<=>(const GraphKey&) const = default;
};

struct GraphStats {
  int64_t captures = 0;
  std::map<GraphKey, int64_t> replays;
  // Steps that ran without a graph. Reasons: off, size (beyond the largest graph), uncaptured (not
  // yet, or no longer), capture (it could not be captured), check (a fresh graph's result differed
  // from eager execution's), replay (its launch failed).
  std::map<std::pair<StepKind, std::string>, int64_t> eager_steps;
};

// Where the device's memory is, in bytes.
struct MemoryUse {
  int64_t weights = 0;
  int64_t kv_cache = 0;
  int64_t graphs = 0;
  int64_t workspace = 0;  // buffers of the steps and what the libraries keep
  int64_t free = 0;

  std::string DebugString() const;  // each use in GiB
};

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_STEP_STATS_H_
