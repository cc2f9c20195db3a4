// Many clients at once against all of the server but gRPC: worker pool, queue, serving loop,
// scheduler and token streams over the fake engine, with cancels at random phases, deadlines, slow
// readers, and what the fail points inject. What each client saw is checked against a model:
//
//   - it has exactly one end, of a kind that its story allows;
//   - its tokens are the first of those that its request has when it runs alone, and all of them if
//     the end is OK: so none is lost, twice, or another's;
//   - each time that it waited it was told once;
//   - when all have ended no slot and no KV block is taken, and nothing waits.
//
// The stories (who asks what, leaves when, reads how) and what each passage of a fail point injects
// follow from the seed; the threads' order is the system's.
#ifndef GLIMPSE_TESTS_SERVER_HISTORY_H_
#define GLIMPSE_TESTS_SERVER_HISTORY_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "engine/schedule/batch_policy.h"

namespace glimpse {

struct HistoryOptions {
  uint64_t seed = 0;
  int requests = 1000;
  int depth = 2;  // steps in flight
  BatchPolicyKind policy = BatchPolicyKind::kAuto;
  std::string fail_points;  // as SetFailPoints takes them
};

struct HistoryReport {
  std::vector<std::string> violations;  // the first few; empty: all is as it has to be
  std::map<std::string, int> ends;      // how many requests ended how: "OK", "CANCELLED", ...
  int preemptions = 0;
};

HistoryReport RunHistory(const HistoryOptions& options);

}  // namespace glimpse

#endif  // GLIMPSE_TESTS_SERVER_HISTORY_H_
