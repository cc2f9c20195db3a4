// The progress of loading the weights on standard error: a bar that moves on a terminal, a line for
// each 10 % in a log.
#ifndef GLIMPSE_SERVER_PROGRESS_H_
#define GLIMPSE_SERVER_PROGRESS_H_

#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "engine/schedule/clock.h"

namespace glimpse {

// "weights [#####     ]  50 %  6.0 of 12.0 MiB  2.1 GB/s  3 s left". Pure.
std::string ProgressText(int64_t done, int64_t total, absl::Duration elapsed);

// One thread at a time.
class Progress {
 public:
  // `clock` outlives this. `is_terminal`: whether standard error is one.
  Progress(const Clock* clock, bool is_terminal);

  void Update(int64_t done, int64_t total);

 private:
  const Clock* const clock_;
  const bool is_terminal_;
  const absl::Time start_;
  int64_t shown_percent_ = -1;
};

}  // namespace glimpse

#endif  // GLIMPSE_SERVER_PROGRESS_H_
