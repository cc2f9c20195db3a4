#include "engine/schedule/batch_policy.h"

#include <algorithm>
#include <cmath>

#include "preprocess/check.h"

namespace glimpse {
namespace {

constexpr int kRealtimeSize = 2;
constexpr int kDefaultSize = 4;
constexpr int kOfflineSize = 8;

// Requests that will be there at the same time if they go on arriving as they do.
int Expected(const LoadStats& load, int most) {
  const double expected = std::ceil(load.arrivals_per_second * absl::ToDoubleSeconds(load.stay));
  return static_cast<int>(std::min<double>(expected, most));
}

// The smallest size that holds `count`.
int SizeFor(int count, const std::vector<int>& sizes) {
  const auto size = std::lower_bound(sizes.begin(), sizes.end(), count);
  return size == sizes.end() ? count : *size;
}

int BatchSize(BatchPolicyKind kind, const LoadStats& load, const std::vector<int>& sizes,
              int most) {
  const int present =
      static_cast<int>(std::min<int64_t>(int64_t{load.running} + load.waiting, most));
  switch (kind) {
    case BatchPolicyKind::kRealtime:
      return kRealtimeSize;
    case BatchPolicyKind::kBalanced:
      return kDefaultSize;
    case BatchPolicyKind::kOffline:
      return SizeFor(std::max(kOfflineSize, present), sizes);
    case BatchPolicyKind::kAuto:
      return SizeFor(std::max({kDefaultSize, present, Expected(load, most)}), sizes);
  }
  return most;
}

absl::Duration StallBudget(BatchPolicyKind kind) {
  if (kind == BatchPolicyKind::kRealtime) return absl::Milliseconds(8);
  if (kind == BatchPolicyKind::kOffline) return kLongestStep;
  return absl::Milliseconds(15);
}

}  // namespace

BatchTargets ChooseTargets(BatchPolicyKind kind, const LoadStats& load,
                           const std::vector<int>& sizes, int max_batch_size) {
  GLIMPSE_CHECK(max_batch_size >= 1, "a batch needs room for a sequence");
  BatchTargets targets;
  targets.batch_size = std::min(BatchSize(kind, load, sizes, max_batch_size), max_batch_size);
  if (kind == BatchPolicyKind::kOffline) targets.longest_wait = absl::Milliseconds(50);
  targets.stall_budget = StallBudget(kind);
  return targets;
}

}  // namespace glimpse
