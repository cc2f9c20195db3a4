// Below 2^kBits nanoseconds each value has its bucket. Above, each power of two is cut into 2^kBits
// buckets of equal width, so that a bucket is at most 1/128 of its values wide.
#include "bench/load/histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace glimpse::bench {
namespace {

constexpr int kBits = 7;
constexpr int64_t kPerOctave = int64_t{1} << kBits;

size_t BucketOf(int64_t ns) {
  if (ns < kPerOctave) return static_cast<size_t>(ns);
  const int shift = std::bit_width(static_cast<uint64_t>(ns)) - 1 - kBits;
  return static_cast<size_t>(shift * kPerOctave + (ns >> shift));
}

// The largest value in the bucket.
int64_t EndOf(size_t bucket) {
  const int64_t index = static_cast<int64_t>(bucket);
  if (index < 2 * kPerOctave) return index;
  const int shift = static_cast<int>(index / kPerOctave) - 1;
  const int64_t start = (index - shift * kPerOctave) << shift;
  return start + (int64_t{1} << shift) - 1;
}

}  // namespace

void Histogram::Add(absl::Duration value, int64_t times) {
  const int64_t ns = std::max<int64_t>(absl::ToInt64Nanoseconds(value), 0);
  const size_t bucket = BucketOf(ns);
  if (bucket >= buckets_.size()) buckets_.resize(bucket + 1);
  buckets_[bucket] += times;
  count_ += times;
  largest_ns_ = std::max(largest_ns_, ns);
  sum_ns_ += static_cast<double>(ns) * static_cast<double>(times);
}

void Histogram::Merge(const Histogram& other) {
  if (other.buckets_.size() > buckets_.size()) buckets_.resize(other.buckets_.size());
  for (size_t i = 0; i < other.buckets_.size(); ++i) buckets_[i] += other.buckets_[i];
  count_ += other.count_;
  largest_ns_ = std::max(largest_ns_, other.largest_ns_);
  sum_ns_ += other.sum_ns_;
}

absl::Duration Histogram::Mean() const {
  if (count_ == 0) return absl::ZeroDuration();
  return absl::Nanoseconds(sum_ns_ / static_cast<double>(count_));
}

absl::Duration Histogram::Quantile(double share) const {
  const auto rank = static_cast<int64_t>(std::ceil(share * static_cast<double>(count_)));
  int64_t seen = 0;
  for (size_t i = 0; i < buckets_.size(); ++i) {
    seen += buckets_[i];
    if (seen > 0 && seen >= rank) return absl::Nanoseconds(std::min(EndOf(i), largest_ns_));
  }
  return absl::ZeroDuration();
}

}  // namespace glimpse::bench
