// What the scheduler tells of itself, for metrics and logs: plain values.
#ifndef GLIMPSE_ENGINE_SCHEDULE_SCHEDULER_STATS_H_
#define GLIMPSE_ENGINE_SCHEDULE_SCHEDULER_STATS_H_

#include <cstdint>

#include "absl/time/time.h"
#include "engine/schedule/batch_policy.h"
#include "engine/schedule/step_plan.h"

namespace glimpse {

// One step that is done.
struct StepReport {
  StepKind kind = StepKind::kIdle;
  int rows = 0;    // real ones
  int bucket = 0;  // StepPlan::bucket: with padding, or with the pictures of those that left
  int tokens = 0;  // fed by the real rows; 0 for vision
  // From the plan, or from the end of the step before if that came later, to Done: the time that
  // the device had for it.
  absl::Duration duration;
  // Vision: the first and the last slice of its pictures. The durations from one to the other make
  // the time that the tower took; a group of which every client has left has no last slice.
  bool starts_pictures = false;
  bool ends_pictures = false;
};

struct SchedulerLoad {
  int running = 0;      // sequences with a slot
  int64_t waiting = 0;  // requests in the queue, and sequences that were preempted
  int kv_blocks_live = 0;
  int kv_blocks_free = 0;
  int64_t preemptions = 0;  // since the start
  BatchTargets targets;     // of the latest Next
};

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_SCHEDULE_SCHEDULER_STATS_H_
