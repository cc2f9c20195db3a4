#include "bench/load/call_plan.h"

#include <random>

namespace glimpse::bench {

CallPlan PlanCall(const CallMix& mix, uint64_t seed, int64_t number) {
  // Odd and large: numbers that follow each other give seeds that are far apart.
  std::mt19937_64 random(seed + static_cast<uint64_t>(number) * 0x9E3779B97F4A7C15u);
  const auto happens = [&](double share) {
    return std::uniform_real_distribution<double>(0, 1)(random) < share;
  };
  CallPlan plan;
  plan.number = number;
  plan.prompt_tokens = mix.prompt_tokens.Draw(random);
  plan.answer_tokens = mix.answer_tokens.Draw(random);
  plan.picture = happens(mix.picture_share);
  plan.slow_reader = happens(mix.slow_share);
  if (happens(mix.cancel_share)) {
    plan.cancel_after =
        std::uniform_int_distribution<int>(CallPlan::kAtOnce, plan.answer_tokens)(random);
  }
  return plan;
}

}  // namespace glimpse::bench
