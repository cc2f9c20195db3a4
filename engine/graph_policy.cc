#include "engine/graph_policy.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "preprocess/status_macros.h"

namespace glimpse {
namespace {

absl::Status BadEntry(absl::string_view entry) {
  return absl::InvalidArgumentError(absl::StrCat(
      "capture must be eager, lazy or a list such as decode:4,8;prefill:512, not \"", entry, "\""));
}

// "decode:4,8" -> the keys.
absl::StatusOr<std::set<GraphKey>> ParseKind(absl::string_view entry,
                                             const std::set<GraphKey>& known) {
  const std::vector<absl::string_view> parts = absl::StrSplit(entry, ':');
  const bool is_decode = parts[0] == "decode";
  if (parts.size() != 2 || (!is_decode && parts[0] != "prefill")) return BadEntry(entry);
  std::set<GraphKey> keys;
  for (absl::string_view number : absl::StrSplit(parts[1], ',')) {
    GraphKey key = {is_decode ? StepKind::kDecode : StepKind::kPrefill, 0};
    if (!absl::SimpleAtoi(number, &key.bucket)) return BadEntry(entry);
    if (known.count(key) == 0) {
      return absl::InvalidArgumentError(absl::StrCat("capture names ", parts[0], " size ", number,
                                                     ", which no step is padded to"));
    }
    keys.insert(key);
  }
  return keys;
}

std::set<GraphKey> AllSizes(const BucketTable& buckets, int max_batch_size,
                            int max_prefill_tokens) {
  std::set<GraphKey> sizes;
  const int most_rows = buckets.DecodeRows(max_batch_size);
  for (int rows : buckets.decode_rows()) {
    if (rows <= most_rows) sizes.insert({StepKind::kDecode, rows});
  }
  for (int tokens : buckets.prefill_tokens()) {
    if (tokens <= max_prefill_tokens) sizes.insert({StepKind::kPrefill, tokens});
  }
  return sizes;
}

// Of `sizes`, those that are captured at start.
absl::StatusOr<std::set<GraphKey>> AtStart(const std::string& capture,
                                           const std::set<GraphKey>& sizes) {
  if (capture == "eager") return sizes;
  std::set<GraphKey> at_start;
  if (capture == "lazy") {
    const auto smallest = std::find_if(sizes.begin(), sizes.end(), [](const GraphKey& key) {
      return key.kind == StepKind::kDecode;  // the set is ordered
    });
    if (smallest != sizes.end()) at_start.insert(*smallest);
    return at_start;
  }
  for (absl::string_view entry : absl::StrSplit(capture, ';')) {
    GLIMPSE_ASSIGN_OR_RETURN(const std::set<GraphKey> keys, ParseKind(entry, sizes));
    at_start.insert(keys.begin(), keys.end());
  }
  return at_start;
}

// The size that was missed most often, if that is often enough; else kNone.
GraphChange MostMissed(const std::map<GraphKey, GraphUse>& uses) {
  GraphChange change;
  int64_t most = kMissesWorthAGraph - 1;
  for (const auto& [key, use] : uses) {
    if (use.recorded || use.misses <= most) continue;
    most = use.misses;
    change = {GraphChange::kRecord, key};
  }
  return change;
}

GraphChange LongestUnused(const std::map<GraphKey, GraphUse>& uses, int64_t steps) {
  const auto decode_graphs = std::count_if(uses.begin(), uses.end(), [](const auto& entry) {
    return entry.first.kind == StepKind::kDecode && entry.second.recorded;
  });
  GraphChange change;
  int64_t last = steps - kStepsOfDisuse + 1;
  for (const auto& [key, use] : uses) {
    if (!use.recorded || use.last_step >= last) continue;
    if (key.kind == StepKind::kDecode && decode_graphs == 1) continue;
    last = use.last_step;
    change = {GraphChange::kDrop, key};
  }
  return change;
}

}  // namespace

GraphChange NextGraphChange(const std::map<GraphKey, GraphUse>& uses, int64_t steps) {
  const GraphChange record = MostMissed(uses);
  return record.action == GraphChange::kNone ? LongestUnused(uses, steps) : record;
}

absl::StatusOr<GraphPolicy> MakeGraphPolicy(const std::string& graphs, const std::string& capture,
                                            const BucketTable& buckets, int max_batch_size,
                                            int max_prefill_tokens) {
  if (graphs != "on" && graphs != "off") {
    return absl::InvalidArgumentError(
        absl::StrCat("graphs must be on or off, not \"", graphs, "\""));
  }
  GraphPolicy policy;
  policy.enabled = graphs == "on";
  policy.sizes = AllSizes(buckets, max_batch_size, max_prefill_tokens);
  policy.at_first_use = capture == "lazy";
  GLIMPSE_ASSIGN_OR_RETURN(policy.at_start, AtStart(capture, policy.sizes));
  if (!policy.enabled) {
    policy.sizes.clear();
    policy.at_start.clear();
  }
  return policy;
}

}  // namespace glimpse
