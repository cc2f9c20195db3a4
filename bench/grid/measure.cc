#include "bench/grid/measure.h"

#include <algorithm>
#include <chrono>

#include "preprocess/status_macros.h"

namespace glimpse::bench {
namespace {

using Clock = std::chrono::steady_clock;

// Runs the plans, `runner.depth()` in flight; returns the time from the start to the end of each,
// in milliseconds.
absl::StatusOr<std::vector<double>> RunPlans(StepRunner& runner,
                                             const std::vector<const StepPlan*>& plans) {
  std::vector<double> ends;
  const Clock::time_point start = Clock::now();
  const auto finish = [&]() -> absl::Status {
    GLIMPSE_RETURN_IF_ERROR(runner.Finish().status());
    ends.push_back(std::chrono::duration<double, std::milli>(Clock::now() - start).count());
    return absl::OkStatus();
  };
  for (size_t launched = 0; launched < plans.size(); ++launched) {
    GLIMPSE_RETURN_IF_ERROR(runner.Launch(*plans[launched]));
    const size_t in_flight = launched + 1 - ends.size();
    if (in_flight == static_cast<size_t>(runner.depth())) GLIMPSE_RETURN_IF_ERROR(finish());
  }
  while (ends.size() < plans.size()) GLIMPSE_RETURN_IF_ERROR(finish());
  return ends;
}

// Of runs of `one_ms` each, as many as the budget holds.
int Times(int wanted, int least, double one_ms, absl::Duration budget) {
  const double most = absl::ToDoubleMilliseconds(budget) / std::max(one_ms, 1e-3);
  return std::clamp(static_cast<int>(std::min(most, 1e6)), std::min(least, wanted), wanted);
}

// Vision and prefill, from an idle device to the first tokens.
absl::StatusOr<std::vector<Stage>> MeasurePrompt(StepRunner& runner, const Batch& batch,
                                                 const Effort& effort) {
  const std::vector<StepPlan> vision = batch.Vision(), prefill = batch.Prefill();
  std::vector<const StepPlan*> plans;
  for (const StepPlan& plan : vision) plans.push_back(&plan);
  for (const StepPlan& plan : prefill) plans.push_back(&plan);
  std::vector<Stage> stages = {{"vision", {}}, {"prefill", {}}, {"first_token", {}}};
  // The first run also loads and captures; what a run takes is known after the second.
  GLIMPSE_ASSIGN_OR_RETURN(std::vector<double> ends, RunPlans(runner, plans));
  const bool is_long = ends.back() > absl::ToDoubleMilliseconds(effort.budget);
  if (!is_long) {
    GLIMPSE_ASSIGN_OR_RETURN(ends, RunPlans(runner, plans));
  }
  const double one = ends.back();
  for (int i = Times(effort.warm_ups - 2, 0, one, effort.budget / 5); i > 0; --i) {
    GLIMPSE_RETURN_IF_ERROR(RunPlans(runner, plans).status());
  }
  for (int i = Times(effort.runs, is_long ? 1 : 3, one, effort.budget); i > 0; --i) {
    GLIMPSE_ASSIGN_OR_RETURN(ends, RunPlans(runner, plans));
    const double encoded = vision.empty() ? 0 : ends[vision.size() - 1];
    stages[0].milliseconds.push_back(encoded);
    stages[1].milliseconds.push_back(ends.back() - encoded);
    stages[2].milliseconds.push_back(ends.back());
  }
  if (vision.empty()) stages = {stages[1]};
  return stages;
}

// The steps follow one another without a gap: a run is the time between two ends.
absl::StatusOr<Stage> MeasureDecode(StepRunner& runner, const Batch& batch, const Effort& effort) {
  const StepPlan plan = batch.Decode();
  GLIMPSE_ASSIGN_OR_RETURN(std::vector<double> ends, RunPlans(runner, {&plan, &plan, &plan}));
  const double one = ends[2] - ends[1];
  const int warm_ups = std::max(1, Times(effort.warm_ups, 1, one, effort.budget / 5));
  const int runs = Times(effort.runs, 3, one, effort.budget);
  GLIMPSE_ASSIGN_OR_RETURN(
      ends,
      RunPlans(runner, std::vector<const StepPlan*>(static_cast<size_t>(warm_ups + runs), &plan)));
  Stage stage{"decode", {}};
  for (size_t i = static_cast<size_t>(warm_ups); i < ends.size(); ++i) {
    stage.milliseconds.push_back(ends[i] - ends[i - 1]);
  }
  return stage;
}

}  // namespace

absl::StatusOr<std::vector<Stage>> Measure(StepRunner& runner, const Batch& batch,
                                           const Effort& effort) {
  GLIMPSE_ASSIGN_OR_RETURN(std::vector<Stage> stages, MeasurePrompt(runner, batch, effort));
  GLIMPSE_ASSIGN_OR_RETURN(Stage decode, MeasureDecode(runner, batch, effort));
  stages.push_back(std::move(decode));
  return stages;
}

}  // namespace glimpse::bench
