#include "bench/statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "preprocess/check.h"

namespace glimpse::bench {

Summary Summarize(std::vector<double> values) {
  GLIMPSE_CHECK(!values.empty(), "nothing was measured");
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  Summary summary;
  summary.least = values.front();
  summary.mean = std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(n);
  double squares = 0;
  for (double value : values) squares += (value - summary.mean) * (value - summary.mean);
  if (n > 1) summary.deviation = std::sqrt(squares / static_cast<double>(n - 1));
  summary.median = (values[(n - 1) / 2] + values[n / 2]) / 2;
  summary.p99 = values[static_cast<size_t>(std::ceil(0.99 * static_cast<double>(n))) - 1];
  return summary;
}

}  // namespace glimpse::bench
