// What a load test has seen of its calls, by this client's clock.
//
// first token   from sending the request to the first delta
// inter-token   between one token and the next. A delta that brings k tokens, g after the delta
//               before it, counts as k gaps of g / k; the tokens that come together with the first
//               one count nothing
// delta gap     between one delta and the next: how long a text stands still before its reader
// total         from sending the request to the end of its stream
//
// Not thread-safe: each worker has its own, and `Merge` puts them together.
#ifndef GLIMPSE_BENCH_LOAD_TALLY_H_
#define GLIMPSE_BENCH_LOAD_TALLY_H_

#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "bench/load/call_plan.h"
#include "bench/load/histogram.h"

namespace glimpse::bench {

struct Latencies {
  Histogram first_token;
  Histogram inter_token;
  Histogram delta_gap;
  Histogram total;

  void Merge(const Latencies& other);
};

// What a user would still call good; infinite where nobody asked.
struct Objectives {
  absl::Duration first_token = absl::InfiniteDuration();
  absl::Duration inter_token = absl::InfiniteDuration();  // the mean of one answer
  absl::Duration total = absl::InfiniteDuration();
};

// One call on its way.
struct CallProgress {
  absl::Time start;
  bool measured = true;  // false: its times are not taken, because it warms up or reads slowly
  absl::Time first_token = absl::InfinitePast();
  absl::Time last_delta = absl::InfinitePast();
  int first_tokens = 0;  // that came with the first delta
  int tokens = 0;
};

// How a call ended: "OK" and a finish reason, or a status code and the server's reason.
using CallEnd = std::pair<std::string, std::string>;

class Tally {
 public:
  // A delta with `tokens` tokens, perhaps 0, has come.
  void OnDelta(const CallPlan& plan, int tokens, absl::Time now, CallProgress* call);
  // The stream is over. `complete`: with all of its answer.
  void OnEnd(const CallPlan& plan, const CallProgress& call, const CallEnd& end, bool complete,
             absl::Time now);
  void OnLateArrival(absl::Duration late) { lateness_.Add(late); }

  void Merge(const Tally& other);

  const Latencies& text() const { return text_; }
  const Latencies& picture() const { return picture_; }
  // All calls, warm-up and slow readers too, with the time that each took.
  const std::map<CallEnd, Histogram>& ends() const { return ends_; }
  // How much later than planned the calls of an open loop were sent.
  const Histogram& lateness() const { return lateness_; }

 private:
  Latencies& Of(const CallPlan& plan) { return plan.picture ? picture_ : text_; }

  Latencies text_;
  Latencies picture_;
  std::map<CallEnd, Histogram> ends_;
  Histogram lateness_;
};

bool Meets(const Objectives& objectives, const CallProgress& call, absl::Time end);

}  // namespace glimpse::bench

#endif  // GLIMPSE_BENCH_LOAD_TALLY_H_
