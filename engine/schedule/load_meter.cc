#include "engine/schedule/load_meter.h"

#include <cmath>

namespace glimpse {

// Each arrival adds 1 / kMemory, and all of it fades: with one every 1 / r seconds the sum tends to
// r.
void LoadMeter::Arrived(int64_t total, absl::Time now) {
  if (looked_ == absl::InfinitePast()) looked_ = now;
  if (now > looked_) {
    arrivals_per_second_ *= std::exp(-absl::FDivDuration(now - looked_, kMemory));
    looked_ = now;
  }
  arrivals_per_second_ += static_cast<double>(total - total_) / absl::ToDoubleSeconds(kMemory);
  total_ = total;
}

void LoadMeter::Ended(absl::Duration stay) {
  constexpr double kShare = 0.1;  // of the latest in the mean
  stay_ = stay_ == absl::ZeroDuration() ? stay : stay_ + (stay - stay_) * kShare;
}

}  // namespace glimpse
