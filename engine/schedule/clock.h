// Time as an input: whatever expires or measures takes a Clock, so that tests move time by hand.
// Only server/server_main.cc knows the real one. Threads that sleep until something happens
// (RequestQueue::WaitForWork and waits of the server's) do so in real time.
#ifndef GLIMPSE_ENGINE_SCHEDULE_CLOCK_H_
#define GLIMPSE_ENGINE_SCHEDULE_CLOCK_H_

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace glimpse {

// Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual absl::Time Now() const = 0;
};

class RealClock : public Clock {
 public:
  absl::Time Now() const override { return absl::Now(); }
};

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_SCHEDULE_CLOCK_H_
