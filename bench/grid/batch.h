// A batch of equal sequences, and the plans that its steps have: what a scheduler would plan for so
// many requests that came at the same time. Each sequence has a slot and KV blocks of its own.
#ifndef GLIMPSE_BENCH_GRID_BATCH_H_
#define GLIMPSE_BENCH_GRID_BATCH_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "engine/schedule/bucket_table.h"
#include "engine/schedule/model_limits.h"
#include "engine/schedule/step_plan.h"

namespace glimpse::bench {

// One cell of the grid.
struct Shape {
  int batch = 1;
  int text = 64;  // tokens of a sequence beside its picture's
  bool picture = false;
};

class Batch {
 public:
  // INVALID_ARGUMENT: a shape that is none; RESOURCE_EXHAUSTED: `limits` have no room for it and
  // one token more a sequence.
  static absl::Status Check(const Shape& shape, const ModelLimits& limits);

  // What passes Check. The plans point into this.
  Batch(const Shape& shape, const ModelLimits& limits);

  int context() const { return context_; }  // KV rows of a sequence after prefill

  std::vector<StepPlan> Vision() const;  // empty without a picture
  std::vector<StepPlan> Prefill() const;
  // Feeds each sequence's last token behind the prompt, always at the same place, so that every
  // step is the same.
  StepPlan Decode() const;

 private:
  StepRow Row(int slot, int first, int count) const;

  const Shape shape_;
  const ModelLimits limits_;
  const BucketTable buckets_;
  const int context_;
  std::vector<int32_t> prompt_;  // [text] ids
  RgbImage image_;
};

}  // namespace glimpse::bench

#endif  // GLIMPSE_BENCH_GRID_BATCH_H_
