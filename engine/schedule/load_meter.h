// How many requests arrive and how long they stay, of late; for ChooseTargets. Knows no clock: time
// comes with each call; time that goes back counts as standing still. Not thread-safe.
#ifndef GLIMPSE_ENGINE_SCHEDULE_LOAD_METER_H_
#define GLIMPSE_ENGINE_SCHEDULE_LOAD_METER_H_

#include <cstdint>

#include "absl/time/time.h"

namespace glimpse {

class LoadMeter {
 public:
  // What arrived so long ago counts 1/e of what arrives now: a quiet spell of 10 s is a change, one
  // of a second is chance.
  static constexpr absl::Duration kMemory = absl::Seconds(10);

  // `total`: requests since the start of the server, never fewer than before.
  void Arrived(int64_t total, absl::Time now);
  // A request that was answered, or not, ran for `stay`.
  void Ended(absl::Duration stay);

  double arrivals_per_second() const { return arrivals_per_second_; }
  absl::Duration stay() const { return stay_; }  // zero until one has ended

 private:
  int64_t total_ = 0;
  absl::Time looked_ = absl::InfinitePast();
  double arrivals_per_second_ = 0;
  absl::Duration stay_;
};

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_SCHEDULE_LOAD_METER_H_
