#include "engine/schedule/bucket_table.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <utility>

#include "preprocess/check.h"

namespace glimpse {
namespace {

bool AscendsFromOne(const std::vector<int>& sizes) {
  const bool ascends =
      std::adjacent_find(sizes.begin(), sizes.end(), std::greater_equal<int>()) == sizes.end();
  return ascends && (sizes.empty() || sizes.front() >= 1);
}

int SmallestAtLeast(const std::vector<int>& sizes, int count) {
  const auto size = std::lower_bound(sizes.begin(), sizes.end(), count);
  return size == sizes.end() ? count : *size;
}

}  // namespace

std::vector<int> BucketTable::DefaultPrefillTokens() {
  std::vector<int> sizes = {64};
  for (int tokens = 128; tokens <= 1024; tokens += 128) sizes.push_back(tokens);
  return sizes;
}

BucketTable::BucketTable(std::vector<int> decode_rows, std::vector<int> prefill_tokens)
    : decode_rows_(std::move(decode_rows)), prefill_tokens_(std::move(prefill_tokens)) {
  GLIMPSE_CHECK(AscendsFromOne(decode_rows_), "decode sizes must ascend");
  GLIMPSE_CHECK(AscendsFromOne(prefill_tokens_), "prefill sizes must ascend");
}

int BucketTable::DecodeRows(int rows) const { return SmallestAtLeast(decode_rows_, rows); }

int BucketTable::PrefillTokens(int tokens) const {
  return SmallestAtLeast(prefill_tokens_, tokens);
}

int BucketTable::PrefillTokensWithin(int tokens) const {
  const auto above = std::upper_bound(prefill_tokens_.begin(), prefill_tokens_.end(), tokens);
  if (above == prefill_tokens_.begin() || above == prefill_tokens_.end()) return tokens;
  return *std::prev(above);
}

}  // namespace glimpse
