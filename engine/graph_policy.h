// Which steps are replayed from CUDA graphs, and when those are captured: what --graphs and
// --capture say.
#ifndef GLIMPSE_ENGINE_GRAPH_POLICY_H_
#define GLIMPSE_ENGINE_GRAPH_POLICY_H_

#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/schedule/bucket_table.h"
#include "engine/step_stats.h"

namespace glimpse {

struct GraphPolicy {
  bool enabled = true;
  std::set<GraphKey> sizes;     // steps that get a graph, at the latest when they first occur
  std::set<GraphKey> at_start;  // of these, the ones captured before the engine serves
};

// graphs: on | off. capture: eager (all at start), lazy (the smallest decode size at start, the
// others at first use), or a list of those to capture at start, as "decode:4,8;prefill:512,1024".
// Sizes beyond max_batch_size (rounded up) and max_prefill_tokens are left out.
// INVALID_ARGUMENT: another word, or a size that is no bucket.
absl::StatusOr<GraphPolicy> MakeGraphPolicy(const std::string& graphs, const std::string& capture,
                                            const BucketTable& buckets, int max_batch_size,
                                            int max_prefill_tokens);

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_GRAPH_POLICY_H_
