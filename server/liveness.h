// Whether a serving loop still moves, for the "liveness" that a supervisor asks: it fails only
// where the loop will not come back, a step that never ends on the device above all. However many
// wait, a loop that finishes steps lives.
//
// A pure function of what it was shown; one thread at a time.
#ifndef GLIMPSE_SERVER_LIVENESS_H_
#define GLIMPSE_SERVER_LIVENESS_H_

#include <cstdint>

#include "absl/time/time.h"

namespace glimpse {

class Liveness {
 public:
  // `timeout` > 0: longer than any step, recording a graph included.
  explicit Liveness(absl::Duration timeout) : timeout_(timeout) {}

  // What is there at `now`: the loop's count of finished steps, and whether it has anything to do.
  // To be called several times within a timeout. False if, all that while, there was work and no
  // step was finished; true again when one is.
  bool Look(absl::Time now, int64_t finished, bool has_work) {
    if (finished != finished_ || !has_work) since_ = now;
    finished_ = finished;
    return now - since_ < timeout_;
  }

 private:
  const absl::Duration timeout_;
  int64_t finished_ = -1;  // at the last look
  absl::Time since_;       // the first look at which it was so, with work
};

}  // namespace glimpse

#endif  // GLIMPSE_SERVER_LIVENESS_H_
