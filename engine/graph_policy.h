// Which steps are replayed from CUDA graphs, and when those are captured: what --graphs and
// --capture say, and what a quiet moment is used for. Pure functions: they can change a time, never
// an answer.
#ifndef GLIMPSE_ENGINE_GRAPH_POLICY_H_
#define GLIMPSE_ENGINE_GRAPH_POLICY_H_

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/schedule/bucket_table.h"
#include "engine/step_stats.h"

namespace glimpse {

struct GraphPolicy {
  bool enabled = true;
  std::set<GraphKey> sizes;     // steps that may have a graph
  std::set<GraphKey> at_start;  // of these, the ones captured before the engine serves
  bool at_first_use = false;    // the others: when they first occur; else see NextGraphChange
};

// graphs: on | off. capture: eager (all at start), lazy (the smallest decode size at start, the
// others at first use), or a list of those to capture at start, as "decode:4,8;prefill:512,1024"
// (the others once they have been missed often).
// None of them keeps a graph that is not used: what was captured at start is dropped after
// kStepsOfDisuse like any other. Under lazy, a size that was dropped is recorded again inside the
// step in which it occurs next, which that step waits for.
// Sizes beyond max_batch_size (rounded up) and max_prefill_tokens are left out.
// INVALID_ARGUMENT: another word, or a size that is no bucket.
absl::StatusOr<GraphPolicy> MakeGraphPolicy(const std::string& graphs, const std::string& capture,
                                            const BucketTable& buckets, int max_batch_size,
                                            int max_prefill_tokens);

// How one of the sizes was used.
struct GraphUse {
  bool recorded = false;
  int64_t misses = 0;  // not recorded: steps that ran without a graph since it was dropped, or ever
  int64_t last_step = 0;  // recorded: when it was used last, or recorded, as a count of steps
};

// What a quiet moment is used for.
struct GraphChange {
  enum Action { kNone, kRecord, kDrop };
  Action action = kNone;
  GraphKey key;
};

// A graph is worth its recording, some 50 ms, once that many steps have missed it.
constexpr int64_t kMissesWorthAGraph = 16;
// A graph that so many steps have not used gives its memory back: ten minutes of decode steps.
constexpr int64_t kStepsOfDisuse = 100'000;

// `uses`: the sizes that were ever recorded or missed, without those that can't be recorded;
// `steps`: steps up to now. First records what is missed most often, then drops what was not used
// for the longest time, but never the last decode graph.
GraphChange NextGraphChange(const std::map<GraphKey, GraphUse>& uses, int64_t steps);

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_GRAPH_POLICY_H_
