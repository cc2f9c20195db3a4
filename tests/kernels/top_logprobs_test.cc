// The likeliest ids of a row against a sort in double.
#include <algorithm>
#include <numeric>

#include "engine/kernels/kernels.h"
#include "tests/kernels/kernel_test.h"

namespace glimpse {
namespace {

TEST_CASE("TopLogprobs gives the likeliest ids, the lowest first among equals", "[gpu]") {
  const int vocabulary = GENERATE(20, 1025, 151552);
  const int count = GENERATE(1, 5, 20);
  const float step = GENERATE(0.0f, 0.5f, 100.0f);  // to which logits are rounded; 0: not
  const int rows = 3;
  std::mt19937 random(vocabulary);
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> logits(size_t(rows) * vocabulary);
  for (float& logit : logits) {
    logit = normal(random);
    if (step > 0) logit = std::round(logit / step) * step;
  }
  const DeviceArray<float> device_logits(logits), logprobs(size_t(rows) * count);
  const DeviceArray<int32_t> ids(size_t(rows) * count);
  kernels::TopLogprobs args;
  args.logits = device_logits.data();
  args.ids = ids.data();
  args.logprobs = logprobs.data();
  args.rows = rows;
  args.vocabulary = vocabulary;
  args.count = count;
  Launch(args, nullptr);

  const std::vector<int32_t> actual_ids = ids.ToHost();
  const std::vector<float> actual = logprobs.ToHost();
  for (int row = 0; row < rows; ++row) {
    const float* x = &logits[size_t(row) * vocabulary];
    std::vector<int32_t> order(vocabulary);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return x[a] > x[b]; });
    double sum = 0;
    for (int id = 0; id < vocabulary; ++id) sum += std::exp(double{x[id]});
    for (int k = 0; k < count; ++k) {
      CAPTURE(row, k);
      REQUIRE(actual_ids[row * count + k] == order[k]);
      REQUIRE(actual[row * count + k] == Approx(x[order[k]] - std::log(sum)).margin(1e-5));
    }
  }
}

}  // namespace
}  // namespace glimpse
