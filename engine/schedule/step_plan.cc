#include "engine/schedule/step_plan.h"

#include "absl/strings/str_cat.h"
#include "preprocess/status_macros.h"

namespace glimpse {
const char* StepKindName(StepKind kind) {
  switch (kind) {
    case StepKind::kIdle:
      return "idle";
    case StepKind::kVision:
      return "vision";
    case StepKind::kPrefill:
      return "prefill";
    case StepKind::kDecode:
      return "decode";
  }
  return "?";
}

int StepPlan::NumTokens() const {
  size_t tokens = 0;
  for (int i = 0; i < num_real_rows; ++i) tokens += rows[i].tokens.size();
  return static_cast<int>(tokens);
}

std::string StepPlan::DebugString() const {
  std::string text = StepKindName(kind);
  if (kind == StepKind::kIdle) return text;
  absl::StrAppend(&text, " rows ", num_real_rows, " tokens ", NumTokens(), " bucket ", bucket);
  if (kind == StepKind::kVision) absl::StrAppend(&text, " layers ", first_layer, "-", end_layer);
  absl::StrAppend(&text, ":");
  for (int i = 0; i < num_real_rows; ++i) {
    const StepRow& row = rows[i];
    absl::StrAppend(&text, " [#", row.sequence, " slot ", row.slot, " kv ", row.kv_length, "+",
                    row.tokens.size(), row.starts ? " starts" : "", row.samples ? " samples" : "",
                    "]");
  }
  return text;
}

absl::StatusOr<StepOutput> RunStep(StepRunner& runner, const StepPlan& plan) {
  GLIMPSE_RETURN_IF_ERROR(runner.Launch(plan));
  return runner.Finish();
}

}  // namespace glimpse
