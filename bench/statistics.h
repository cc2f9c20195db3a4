// What a benchmark says of its runs.
#ifndef GLIMPSE_BENCH_STATISTICS_H_
#define GLIMPSE_BENCH_STATISTICS_H_

#include <vector>

namespace glimpse::bench {

// In the unit of the values.
struct Summary {
  double least = 0;
  double mean = 0;
  double deviation = 0;  // of the sample, n - 1
  double median = 0;
  double p99 = 0;  // nearest rank: the largest of fewer than 100 values
};

// At least one value.
Summary Summarize(std::vector<double> values);

}  // namespace glimpse::bench

#endif  // GLIMPSE_BENCH_STATISTICS_H_
