#include "bench/load/tally.h"

namespace glimpse::bench {

void Latencies::Merge(const Latencies& other) {
  first_token.Merge(other.first_token);
  inter_token.Merge(other.inter_token);
  delta_gap.Merge(other.delta_gap);
  total.Merge(other.total);
}

void Tally::OnDelta(const CallPlan& plan, int tokens, absl::Time now, CallProgress* call) {
  if (tokens == 0) return;  // the rest of a text whose tokens have been counted
  call->tokens += tokens;
  const absl::Time before = std::exchange(call->last_delta, now);
  const bool first = before == absl::InfinitePast();
  if (first) {
    call->first_token = now;
    call->first_tokens = tokens;
  }
  if (!call->measured) return;
  Latencies& latencies = Of(plan);
  if (first) {
    latencies.first_token.Add(now - call->start);
  } else {
    latencies.inter_token.Add((now - before) / tokens, tokens);
    latencies.delta_gap.Add(now - before);
  }
}

void Tally::OnEnd(const CallPlan& plan, const CallProgress& call, const CallEnd& end, bool complete,
                  absl::Time now) {
  ends_[end].Add(now - call.start);
  if (complete && call.measured) Of(plan).total.Add(now - call.start);
}

void Tally::Merge(const Tally& other) {
  text_.Merge(other.text_);
  picture_.Merge(other.picture_);
  for (const auto& [end, times] : other.ends_) ends_[end].Merge(times);
  lateness_.Merge(other.lateness_);
}

bool Meets(const Objectives& objectives, const CallProgress& call, absl::Time end) {
  if (call.first_token - call.start > objectives.first_token) return false;
  if (end - call.start > objectives.total) return false;
  const int gaps = call.tokens - call.first_tokens;
  return gaps == 0 || (call.last_delta - call.first_token) / gaps <= objectives.inter_token;
}

}  // namespace glimpse::bench
