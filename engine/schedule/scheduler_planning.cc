// What the next step is made of.
#include <algorithm>
#include <utility>
#include <vector>

#include "engine/schedule/scheduler.h"
#include "preprocess/ceil_div.h"

namespace glimpse {
namespace {

using Phase = Sequence::Phase;

StepRow PaddingRow() {
  StepRow row;
  row.tokens = {0};
  row.positions = {0};
  return row;
}

}  // namespace

StepPlan Scheduler::Choose(absl::Time now) {
  const std::optional<absl::Time> company_until = CompanyUntil();
  if (company_until && now < *company_until) return StepPlan();
  Work work = FindWork();
  const bool others = work.vision || work.prefill_tokens > 0;
  if (work.decode && (last_kind_ != StepKind::kDecode || !others)) {
    StepPlan plan = PlanDecode();
    if (plan.num_real_rows > 0) return plan;
    work = FindWork();
  }
  if (VisionHasTheTurn(work)) return PlanVision(work, now);
  return work.prefill_tokens > 0 ? PlanPrefill(work, now) : StepPlan();
}

bool Scheduler::VisionHasTheTurn(const Work& work) const {
  if (!work.vision || work.prefill_tokens == 0) return work.vision;
  const StepKind older = work.vision_is_older ? StepKind::kVision : StepKind::kPrefill;
  const bool has_had_its_turns = last_first_kind_ == older && turns_ >= kTurnsOfOldest;
  return (older == StepKind::kVision) != has_had_its_turns;
}

Scheduler::Work Scheduler::FindWork() const {
  Work work;
  for (const auto& [number, sequence] : running_) {
    const Phase phase = sequence.phase();
    work.decode |= phase == Phase::kDecode;
    if (phase == Phase::kVision) {
      work.vision = true;
      work.vision_is_older |= work.prefill_tokens == 0;
    }
    if (phase == Phase::kPrefill) work.prefill_tokens += sequence.rows_to_prefill();
  }
  return work;
}

StepPlan Scheduler::PlanDecode() {
  StepPlan plan;
  plan.kind = StepKind::kDecode;
  plan.rows.reserve(options_.buckets.DecodeRows(std::max(1, num_running())));
  for (auto entry = running_.begin(); entry != running_.end(); ++entry) {
    if (entry->second.phase() != Phase::kDecode) continue;
    if (!MakeRoom(entry)) break;  // the youngest of all was preempted: nobody is behind it
    plan.rows.push_back(entry->second.NextRow(1));
  }
  plan.num_real_rows = static_cast<int>(plan.rows.size());
  if (plan.num_real_rows == 0) return plan;
  plan.bucket = options_.buckets.DecodeRows(plan.num_real_rows);
  plan.rows.resize(plan.bucket, PaddingRow());
  return plan;
}

StepPlan Scheduler::PlanPrefill(const Work& work, absl::Time now) const {
  StepPlan plan;
  plan.kind = StepKind::kPrefill;
  const int most = std::min(work.prefill_tokens, options_.max_prefill_tokens);
  int room = std::max(Part(StepKind::kPrefill, most, work.decode, now), kLeastTokens);
  room = std::min(room, most);
  if (room < work.prefill_tokens) {
    // What is cut anyway is cut so that nothing is padded, if that leaves enough.
    const int unpadded = options_.buckets.PrefillTokensWithin(room);
    room = std::max(unpadded, std::min(room, kLeastTokens));
  }
  for (const auto& [number, sequence] : running_) {
    if (room == 0) break;
    if (sequence.phase() != Phase::kPrefill) continue;
    plan.rows.push_back(sequence.NextRow(room));
    room -= static_cast<int>(plan.rows.back().tokens.size());
  }
  plan.num_real_rows = static_cast<int>(plan.rows.size());
  plan.bucket = options_.buckets.PrefillTokens(plan.NumTokens());
  return plan;
}

StepPlan Scheduler::PlanVision(const Work& work, absl::Time now) {
  ChoosePictures();
  StepPlan plan;
  plan.kind = StepKind::kVision;
  for (const int64_t number : pictures_.sequences) {
    plan.rows.push_back(running_.at(number).VisionRow());
  }
  plan.num_real_rows = static_cast<int>(plan.rows.size());
  plan.bucket = pictures_.size;
  plan.first_layer = pictures_.next_layer;
  const int left = options_.limits.vision_layers - plan.first_layer;
  const int part = Part(StepKind::kVision, left * plan.bucket, work.decode, now);
  const int most = std::max(1, part / plan.bucket);
  plan.end_layer = plan.first_layer + CeilDiv(left, CeilDiv(left, most));  // slices alike
  return plan;
}

// The group that is under way, less those that have left it, or a new one of the oldest.
void Scheduler::ChoosePictures() {
  std::vector<int64_t>& group = pictures_.sequences;
  group.erase(std::remove_if(group.begin(), group.end(),
                             [&](int64_t number) { return running_.count(number) == 0; }),
              group.end());
  if (!group.empty()) return;
  pictures_.next_layer = 0;
  for (const auto& [number, sequence] : running_) {
    if (static_cast<int>(group.size()) == options_.max_vision_rows) break;
    if (sequence.phase() == Phase::kVision) group.push_back(number);
  }
  pictures_.size = static_cast<int>(group.size());
}

int Scheduler::Part(StepKind kind, int size, bool beside_decoding, absl::Time now) const {
  absl::Time start = now;
  for (const InFlight& step : in_flight_) start += step.estimate;
  const absl::Duration left = std::max(NextDeadline() - start, absl::ZeroDuration());
  const absl::Duration alone =
      std::max(kLongestStep, kLongestInDecodeSteps * costs_.Estimate(StepKind::kDecode, 1));
  const absl::Duration budget =
      std::min(beside_decoding ? targets_.stall_budget : alone, left + kDeadlineSlack);
  // What is not known to take too long may run whole where it stalls nobody.
  if (!beside_decoding && costs_.Estimate(kind, size) <= budget) return size;
  return std::min(size, costs_.SizeWithin(kind, budget));
}

absl::Time Scheduler::NextDeadline() const {
  absl::Time next = queue_->NextDeadline();
  for (const auto& [number, sequence] : running_) {
    next = std::min(next, sequence.request().deadline);
  }
  for (const Sequence& sequence : preempted_) next = std::min(next, sequence.request().deadline);
  return next;
}

void Scheduler::Advance(const StepPlan& plan) {
  last_kind_ = plan.kind;
  if (plan.kind != StepKind::kDecode) {
    turns_ = plan.kind == last_first_kind_ ? turns_ + 1 : 1;
    last_first_kind_ = plan.kind;
  }
  const bool unfinished =
      plan.kind == StepKind::kVision && plan.end_layer < options_.limits.vision_layers;
  for (int i = 0; i < plan.num_real_rows; ++i) {
    Sequence& sequence = running_.at(plan.rows[i].sequence);
    if (unfinished) {
      sequence.Begin();
    } else {
      sequence.Advance(plan.rows[i]);
    }
  }
  if (plan.kind != StepKind::kVision) return;
  pictures_.next_layer = plan.end_layer;
  if (!unfinished) pictures_.sequences.clear();
}

}  // namespace glimpse
