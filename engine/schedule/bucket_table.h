// The shapes that steps are padded to, so that one captured graph serves many batches. Pure: the
// same question always has the same answer, and no answer of the model depends on it.
#ifndef GLIMPSE_ENGINE_SCHEDULE_BUCKET_TABLE_H_
#define GLIMPSE_ENGINE_SCHEDULE_BUCKET_TABLE_H_

#include <vector>

namespace glimpse {

class BucketTable {
 public:
  // Both lists ascend strictly and start at 1 or more. An empty list means no padding.
  explicit BucketTable(std::vector<int> decode_rows = {4, 8, 16, 32, 64},
                       std::vector<int> prefill_tokens = {64, 128, 256, 512, 1024, 2048});

  // The smallest size that holds `rows` (or `tokens`), both >= 1. Beyond the largest size it is the
  // number itself: such a step runs unpadded, without a graph.
  int DecodeRows(int rows) const;
  int PrefillTokens(int tokens) const;

 private:
  std::vector<int> decode_rows_;
  std::vector<int> prefill_tokens_;
};

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_SCHEDULE_BUCKET_TABLE_H_
