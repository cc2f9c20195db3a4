#include "bench/load/histogram.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <random>
#include <vector>

namespace glimpse::bench {
namespace {

TEST_CASE("an empty histogram has only zeros") {
  const Histogram histogram;
  CHECK(histogram.count() == 0);
  CHECK(histogram.Quantile(0.5) == absl::ZeroDuration());
  CHECK(histogram.Mean() == absl::ZeroDuration());
  CHECK(histogram.largest() == absl::ZeroDuration());
}

TEST_CASE("small values are exact") {
  Histogram histogram;
  for (int ns = 1; ns <= 100; ++ns) histogram.Add(absl::Nanoseconds(ns));
  CHECK(histogram.Quantile(0.5) == absl::Nanoseconds(50));
  CHECK(histogram.Quantile(0.99) == absl::Nanoseconds(99));
  CHECK(histogram.Quantile(1) == absl::Nanoseconds(100));
  CHECK(histogram.Quantile(0) == absl::Nanoseconds(1));
  CHECK(histogram.Mean() == absl::Nanoseconds(50.5));
}

TEST_CASE("one value is each of its quantiles") {
  Histogram histogram;
  histogram.Add(absl::Milliseconds(12));
  for (const double share : {0.0, 0.5, 1.0}) {
    CHECK(histogram.Quantile(share) == absl::Milliseconds(12));
  }
}

TEST_CASE("a value counts as often as it is told to") {
  Histogram histogram;
  histogram.Add(absl::Nanoseconds(10), 98);
  histogram.Add(absl::Nanoseconds(20));
  histogram.Add(absl::Nanoseconds(-5));  // a clock that was set back
  CHECK(histogram.count() == 100);
  CHECK(histogram.Quantile(0.01) == absl::ZeroDuration());
  CHECK(histogram.Quantile(0.99) == absl::Nanoseconds(10));
  CHECK(histogram.Quantile(0.991) == absl::Nanoseconds(20));
}

TEST_CASE("quantiles are within 1 % of the sorted values, from nanoseconds to days") {
  std::mt19937_64 random(7);
  std::uniform_real_distribution<double> exponent(0, 14);
  Histogram histogram, first, second;
  std::vector<int64_t> values;
  for (int i = 0; i < 20000; ++i) {
    values.push_back(static_cast<int64_t>(std::pow(10, exponent(random))));
    histogram.Add(absl::Nanoseconds(values.back()));
    (i % 3 == 0 ? first : second).Add(absl::Nanoseconds(values.back()));
  }
  std::sort(values.begin(), values.end());
  first.Merge(second);
  for (int percent = 1; percent <= 100; ++percent) {
    const int64_t exact = values[values.size() * percent / 100 - 1];
    const int64_t found = absl::ToInt64Nanoseconds(histogram.Quantile(percent / 100.0));
    CHECK(found >= exact);
    CHECK(static_cast<double>(found - exact) <= 0.01 * static_cast<double>(exact));
    CHECK(first.Quantile(percent / 100.0) == histogram.Quantile(percent / 100.0));
  }
  CHECK(first.count() == histogram.count());
  CHECK(histogram.largest() == absl::Nanoseconds(values.back()));
}

}  // namespace
}  // namespace glimpse::bench
