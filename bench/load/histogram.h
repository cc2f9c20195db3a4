// Durations, counted in buckets that grow with the value: bounded memory for any number of samples,
// and quantiles within 1 % of the exact ones. Count, mean and largest value are exact.
//
//   Histogram gaps;
//   gaps.Add(absl::Milliseconds(12), /*times=*/3);
//   absl::Duration p99 = gaps.Quantile(0.99);
//
// Not thread-safe: each worker has its own, and `Merge` puts them together.
#ifndef GLIMPSE_BENCH_LOAD_HISTOGRAM_H_
#define GLIMPSE_BENCH_LOAD_HISTOGRAM_H_

#include <cstdint>
#include <vector>

#include "absl/time/time.h"

namespace glimpse::bench {

class Histogram {
 public:
  // Negative values count as 0.
  void Add(absl::Duration value, int64_t times = 1);
  void Merge(const Histogram& other);

  int64_t count() const { return count_; }
  absl::Duration largest() const { return absl::Nanoseconds(largest_ns_); }
  // Zero when nothing was added.
  absl::Duration Mean() const;
  // The least value that `share` of the samples (0 to 1) do not exceed; zero when nothing was
  // added.
  absl::Duration Quantile(double share) const;

 private:
  std::vector<int64_t> buckets_;  // as long as the largest value needs
  int64_t count_ = 0;
  int64_t largest_ns_ = 0;
  double sum_ns_ = 0;
};

}  // namespace glimpse::bench

#endif  // GLIMPSE_BENCH_LOAD_HISTOGRAM_H_
