// How large the batch is, how long a request may wait for company, and for how long one step may
// hold up the sequences that decode: functions of the policy and of what was measured lately. They
// can change a time, never an answer.
//
//   policy    | sequences at once                  | wait for company | stall budget
//   ----------|------------------------------------|------------------|-------------
//   realtime  | 2                                  | none             |   8 ms
//   balanced  | 4, the default size                | none             |  15 ms
//   offline   | 8, then the sizes up to the most,  | 50 ms            | 100 ms
//             |   as there are requests            |                  |
//   auto      | 4, then the sizes up to the most,  | none             |  15 ms
//             |   as there are requests, and those |                  |
//             |   that are to be expected          |                  |
//
// "The sizes" are the captured ones (BucketTable::decode_rows), "the most" is max_batch_size, which
// no policy exceeds. Auto grows at once: it runs whoever waits as long as there are slots. It
// shrinks slowly, as the arrival rate that LoadMeter keeps forgets: the requests to be expected at
// the same time are arrivals a second x seconds that a request stays (Little's law).
//
// The wait is for an idle server only: who comes first waits until the batch is full, but no longer
// than this. The stall budget is the longest that a prefill or vision step should take while
// others decode; where nobody decodes it may take kLongestStep and more (see Scheduler).
#ifndef GLIMPSE_ENGINE_SCHEDULE_BATCH_POLICY_H_
#define GLIMPSE_ENGINE_SCHEDULE_BATCH_POLICY_H_

#include <cstdint>
#include <vector>

#include "absl/time/time.h"

namespace glimpse {

enum class BatchPolicyKind { kAuto, kRealtime, kBalanced, kOffline };

// Also where nobody decodes: whoever arrives, leaves or expires is noticed between steps.
constexpr absl::Duration kLongestStep = absl::Milliseconds(100);

struct LoadStats {
  double arrivals_per_second = 0;
  absl::Duration stay;  // from admission to end, of the requests that ended lately; zero: unknown
  int running = 0;
  int64_t waiting = 0;  // queued and preempted
};

struct BatchTargets {
  int batch_size = 0;           // sequences that run at the same time, 1..max_batch_size
  absl::Duration longest_wait;  // for company, from an idle server's first admission
  absl::Duration stall_budget;
};

// `sizes` ascends and may be empty: then every size is as good; `max_batch_size` is >= 1.
BatchTargets ChooseTargets(BatchPolicyKind kind, const LoadStats& load,
                           const std::vector<int>& sizes, int max_batch_size);

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_SCHEDULE_BATCH_POLICY_H_
