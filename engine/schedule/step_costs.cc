#include "engine/schedule/step_costs.h"

#include <algorithm>

namespace glimpse {
namespace {

constexpr double kKept = 0.9;     // of the sums, at each step: ten steps make the mean
constexpr int kMostSurprise = 4;  // times the estimate

}  // namespace

absl::Duration StepCosts::Fixed(StepKind kind) const {
  return kind == StepKind::kVision ? absl::ZeroDuration() : decode_;
}

void StepCosts::Add(StepKind kind, int size, absl::Duration duration) {
  const absl::Duration expected = Estimate(kind, size);
  if (expected > absl::ZeroDuration()) duration = std::min(duration, expected * kMostSurprise);
  if (kind == StepKind::kDecode) {
    // It falls fast: what takes long by chance is common, what takes short by chance is not.
    const absl::Duration change = duration - expected;
    const bool first = expected == absl::ZeroDuration();
    decode_ += first ? change : change / (change < absl::ZeroDuration() ? 2 : 10);
    return;
  }
  Sums& sums = kind == StepKind::kVision ? vision_ : prefill_;
  const double seconds = absl::ToDoubleSeconds(duration - Fixed(kind));
  sums.seconds = sums.seconds * kKept + std::max(0.0, seconds);
  sums.size = sums.size * kKept + size;
  sums.largest = std::max(sums.largest, size);
}

absl::Duration StepCosts::Estimate(StepKind kind, int size) const {
  if (kind == StepKind::kDecode) return decode_;
  const Sums& sums = Of(kind);
  if (sums.largest == 0) return absl::ZeroDuration();
  return Fixed(kind) + absl::Seconds(sums.seconds / sums.size * size);
}

int StepCosts::SizeWithin(StepKind kind, absl::Duration budget) const {
  const Sums& sums = Of(kind);
  if (sums.largest == 0) return kind == StepKind::kVision ? kFirstLayers : kFirstTokens;
  const double seconds = absl::ToDoubleSeconds(budget - Fixed(kind));
  if (seconds <= 0) return 1;
  const int most = 2 * sums.largest;
  if (seconds * sums.size >= most * sums.seconds) return most;
  const double size = seconds * sums.size / sums.seconds;
  return std::max(1, static_cast<int>(size + 1e-6));  // 3.9999999 are 4
}

}  // namespace glimpse
