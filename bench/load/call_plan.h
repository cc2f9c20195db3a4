// What one call of a load test is to do: drawn from the run's seed and the call's number, so that
// two runs with the same seed send the same calls, however they are spread over threads.
#ifndef GLIMPSE_BENCH_LOAD_CALL_PLAN_H_
#define GLIMPSE_BENCH_LOAD_CALL_PLAN_H_

#include <cstdint>
#include <limits>

#include "bench/load/lengths.h"

namespace glimpse::bench {

// The shares are from 0 to 1.
struct CallMix {
  Lengths prompt_tokens = Lengths(512);  // of text; a picture's come on top
  Lengths answer_tokens = Lengths(256);
  double picture_share = 0;  // calls with a picture
  double cancel_share = 0;   // calls that the client cancels
  double slow_share = 0;     // calls whose client reads slowly, or never
};

struct CallPlan {
  // For cancel_after.
  static constexpr int kAtOnce = -2;     // as soon as the request is on its way
  static constexpr int kOnStarted = -1;  // when it waits in the queue
  static constexpr int kNever = std::numeric_limits<int>::max();

  int64_t number = 0;
  int prompt_tokens = 0;
  int answer_tokens = 0;
  bool picture = false;
  bool slow_reader = false;
  int cancel_after = kNever;  // cancel when this many tokens have come; at most answer_tokens
};

CallPlan PlanCall(const CallMix& mix, uint64_t seed, int64_t number);

}  // namespace glimpse::bench

#endif  // GLIMPSE_BENCH_LOAD_CALL_PLAN_H_
