#include "preprocess/fail_point.h"

#include <atomic>
#include <iterator>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "preprocess/status_macros.h"

namespace glimpse {
namespace {

struct PointName {
  absl::string_view name;
  bool can_fail;
};
constexpr PointName kNames[] = {{"preprocess", true}, {"queue", true},  {"admission", true},
                                {"launch", true},     {"sample", true}, {"notify", false},
                                {"write", false}};
constexpr int kNumPoints = static_cast<int>(std::size(kNames));

struct Action {
  enum class Kind { kError, kDelay, kYield } kind = Kind::kYield;
  double probability = 0;
  absl::Duration delay;
};

constexpr size_t kMostActions = 4;  // of a point
struct Actions {
  size_t count = 0;
  Action list[kMostActions];
};

uint64_t g_seed = 0;
Actions g_actions[kNumPoints];
std::atomic<uint64_t> g_passages[kNumPoints];

// A number in [0, 1) that depends on every bit of its inputs (splitmix64).
double Draw(uint64_t a, uint64_t b, uint64_t c) {
  uint64_t z = 0;
  for (const uint64_t value : {a, b, c}) {
    z += value * 0x9E3779B97F4A7C15u + 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    z ^= z >> 31;
  }
  return static_cast<double>(z >> 11) * 0x1p-53;
}

std::optional<Action> ParseAction(absl::string_view text) {
  if (!absl::ConsumeSuffix(&text, ")")) return std::nullopt;
  const std::vector<std::string> parts = absl::StrSplit(text, absl::ByAnyChar("(;"));
  Action action;
  if (!absl::SimpleAtod(parts.back(), &action.probability)) return std::nullopt;
  if (!(action.probability >= 0 && action.probability <= 1)) return std::nullopt;
  if (parts[0] == "delay" && parts.size() == 3) {
    action.kind = Action::Kind::kDelay;
    if (!absl::ParseDuration(parts[1], &action.delay)) return std::nullopt;
  } else if (parts[0] == "error" && parts.size() == 2) {
    action.kind = Action::Kind::kError;
  } else if (parts[0] != "yield" || parts.size() != 2) {
    return std::nullopt;
  }
  return action;
}

absl::Status AddAction(absl::string_view text, Actions (&actions)[kNumPoints]) {
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(text, absl::MaxSplits('=', 1));
  const std::optional<Action> action = ParseAction(parts.second);
  for (int i = 0; action && i < kNumPoints; ++i) {
    if (kNames[i].name != parts.first) continue;
    if (action->kind == Action::Kind::kError && !kNames[i].can_fail) break;
    if (actions[i].count == kMostActions) break;
    actions[i].list[actions[i].count++] = *action;
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("\"", text, "\" is no fail point with an action that it can take"));
}

}  // namespace

absl::Status SetFailPoints(absl::string_view spec, uint64_t seed) {
  if (!HasFailPoints() && !spec.empty()) {
    return absl::FailedPreconditionError("this build has no fail points (GLIMPSE_FAIL_POINTS)");
  }
  Actions actions[kNumPoints];
  for (absl::string_view text : absl::StrSplit(spec, ',', absl::SkipEmpty())) {
    GLIMPSE_RETURN_IF_ERROR(AddAction(text, actions));
  }
  g_seed = seed;
  for (int i = 0; i < kNumPoints; ++i) {
    g_actions[i] = actions[i];
    g_passages[i] = 0;
  }
  return absl::OkStatus();
}

absl::Status PassFailPoint(FailPoint point) {
  const auto index = static_cast<size_t>(point);
  const Actions& actions = g_actions[index];
  if (actions.count == 0) return absl::OkStatus();
  const uint64_t passage = g_passages[index].fetch_add(1, std::memory_order_relaxed);
  for (size_t i = 0; i < actions.count; ++i) {
    const Action& action = actions.list[i];
    const uint64_t which = index * kMostActions + i;
    if (Draw(g_seed, 2 * which, passage) >= action.probability) continue;
    if (action.kind == Action::Kind::kYield) std::this_thread::yield();
    if (action.kind == Action::Kind::kDelay) {
      absl::SleepFor(action.delay * Draw(g_seed, 2 * which + 1, passage));
    }
    if (action.kind == Action::Kind::kError) {
      return absl::InternalError(absl::StrCat("injected at ", kNames[index].name));
    }
  }
  return absl::OkStatus();
}

}  // namespace glimpse
