// The shapes that steps are padded to, so that one captured graph serves many batches. Pure: the
// same question always has the same answer, and no answer of the model depends on it.
#ifndef GLIMPSE_ENGINE_SCHEDULE_BUCKET_TABLE_H_
#define GLIMPSE_ENGINE_SCHEDULE_BUCKET_TABLE_H_

#include <vector>

namespace glimpse {

class BucketTable {
 public:
  // 64, and from 128 to 1024 every 128. Beyond that a step's launches are hidden behind its
  // products, so a graph gains nothing, while padding costs: on an H100 the products of 1800 tokens
  // take 38.7 ms, those of 1920 41.1 ms.
  static std::vector<int> DefaultPrefillTokens();

  // Both lists ascend strictly and start at 1 or more. An empty list means no padding.
  explicit BucketTable(std::vector<int> decode_rows = {4, 8, 16, 32, 64},
                       std::vector<int> prefill_tokens = DefaultPrefillTokens());

  // The smallest size that holds `rows` (or `tokens`), both >= 1. Beyond the largest size it is the
  // number itself: such a step runs unpadded, without a graph.
  int DecodeRows(int rows) const;
  int PrefillTokens(int tokens) const;
  // The largest size of at most `tokens` >= 1, which a step of as many pads nothing to. Where there
  // is none, or beyond the largest size, the number itself.
  int PrefillTokensWithin(int tokens) const;

  const std::vector<int>& decode_rows() const { return decode_rows_; }
  const std::vector<int>& prefill_tokens() const { return prefill_tokens_; }

 private:
  std::vector<int> decode_rows_;
  std::vector<int> prefill_tokens_;
};

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_SCHEDULE_BUCKET_TABLE_H_
