// The shapes that steps are padded to, so that one captured graph serves many batches. Pure: the
// same question always has the same answer, and no answer of the model depends on it.
#ifndef GLIMPSE_ENGINE_SCHEDULE_BUCKET_TABLE_H_
#define GLIMPSE_ENGINE_SCHEDULE_BUCKET_TABLE_H_

#include <vector>

namespace glimpse {

class BucketTable {
 public:
  // 64, and from 128 to 2048 every 128: the libraries' products run in tiles of 128 rows, so that
  // padding to the next 128 costs nothing, while 1800 tokens padded to 2048 would cost 14 %.
  static std::vector<int> DefaultPrefillTokens();

  // Both lists ascend strictly and start at 1 or more. An empty list means no padding.
  explicit BucketTable(std::vector<int> decode_rows = {4, 8, 16, 32, 64},
                       std::vector<int> prefill_tokens = DefaultPrefillTokens());

  // The smallest size that holds `rows` (or `tokens`), both >= 1. Beyond the largest size it is the
  // number itself: such a step runs unpadded, without a graph.
  int DecodeRows(int rows) const;
  int PrefillTokens(int tokens) const;

  const std::vector<int>& decode_rows() const { return decode_rows_; }
  const std::vector<int>& prefill_tokens() const { return prefill_tokens_; }

 private:
  std::vector<int> decode_rows_;
  std::vector<int> prefill_tokens_;
};

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_SCHEDULE_BUCKET_TABLE_H_
