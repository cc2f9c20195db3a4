#include "engine/schedule/scheduler.h"

#include <iterator>
#include <memory>
#include <optional>
#include <utility>

#include "preprocess/check.h"

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

Scheduler::Scheduler(const SchedulerOptions& options, RequestQueue* queue)
    : options_(options), queue_(queue), pool_(options.limits.num_blocks) {
  GLIMPSE_CHECK(options.max_prefill_tokens >= 1, "a prefill step needs room for a token");
  GLIMPSE_CHECK(options.max_vision_rows >= 1, "a vision step needs room for a picture");
  GLIMPSE_CHECK(options.depth >= 1, "a plan must be allowed to be in flight");
  GLIMPSE_CHECK(options.limits.max_batch_size >= 1, "a batch needs a slot");
  GLIMPSE_CHECK(options.limits.block_size >= 1, "a KV block needs a row");
  for (int slot = options.limits.max_batch_size - 1; slot >= 0; --slot) free_slots_.push_back(slot);
}

StepPlan Scheduler::Next(absl::Time now) {
  GLIMPSE_CHECK(next_plan_ - first_in_flight_ < options_.depth,
                "Next before an earlier plan was done or failed");
  queue_->DropUnwanted(now);
  DropUnwanted(now);
  Admit(now);
  StepPlan plan = Choose();
  if (plan.kind == StepKind::kIdle) return plan;
  plan.number = next_plan_++;
  last_kind_ = plan.kind;
  for (int i = 0; i < plan.num_real_rows; ++i) {
    running_.at(plan.rows[i].sequence).Advance(plan.rows[i]);
  }
  return plan;
}

void Scheduler::DropUnwanted(absl::Time now) {
  for (auto entry = running_.begin(); entry != running_.end();) {
    const absl::Status wanted = StillWanted(entry->second.request(), now);
    entry = wanted.ok() ? std::next(entry) : End(entry, wanted, FinishReason::kStop, now);
  }
}

void Scheduler::Admit(absl::Time now) {
  while (!free_slots_.empty()) {
    const Request* first = queue_->Front(now);
    if (first == nullptr || !AdmitFirst(*first, now)) return;
  }
}

bool Scheduler::AdmitFirst(const Request& first, absl::Time now) {
  const absl::Status can_run = CheckCanRun(first, options_.limits);
  if (!can_run.ok()) {
    FinishUnstarted(*queue_->PopFront(), can_run, now);
    return true;
  }
  std::optional<std::vector<BlockHandle>> blocks =
      pool_.Allocate(static_cast<int>(KvBlocksNeeded(first, options_.limits)));
  if (!blocks) return false;
  std::unique_ptr<Request> request = queue_->PopFront();
  request->times.admitted = now;
  const int slot = free_slots_.back();
  free_slots_.pop_back();
  const int64_t number = next_number_++;
  running_.try_emplace(number, number, slot, *std::move(blocks), std::move(request),
                       &options_.limits);
  return true;
}

StepPlan Scheduler::Choose() const {
  const Sequence* first_token_awaited = nullptr;
  bool can_decode = false;
  for (const auto& [number, sequence] : running_) {
    const Phase phase = sequence.phase();
    if (phase == Phase::kDecode) {
      can_decode = true;
    } else if (phase != Phase::kPlanned && first_token_awaited == nullptr) {
      first_token_awaited = &sequence;
    }
  }
  const bool decoded_last = last_kind_ == StepKind::kDecode;
  if (can_decode && (!decoded_last || first_token_awaited == nullptr)) return PlanDecode();
  if (first_token_awaited == nullptr) return StepPlan();
  if (first_token_awaited->phase() == Phase::kVision) return PlanVision();
  return PlanPrefill();
}

StepPlan Scheduler::PlanVision() const {
  StepPlan plan;
  plan.kind = StepKind::kVision;
  for (const auto& [number, sequence] : running_) {
    if (sequence.phase() != Phase::kVision) continue;
    plan.rows.push_back(sequence.VisionRow());
    if (static_cast<int>(plan.rows.size()) == options_.max_vision_rows) break;
  }
  plan.num_real_rows = static_cast<int>(plan.rows.size());
  plan.bucket = plan.num_real_rows;
  return plan;
}

StepPlan Scheduler::PlanPrefill() const {
  StepPlan plan;
  plan.kind = StepKind::kPrefill;
  int room = options_.max_prefill_tokens;
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

StepPlan Scheduler::PlanDecode() const {
  StepPlan plan;
  plan.kind = StepKind::kDecode;
  for (const auto& [number, sequence] : running_) {
    if (sequence.phase() == Phase::kDecode) plan.rows.push_back(sequence.NextRow(1));
  }
  plan.num_real_rows = static_cast<int>(plan.rows.size());
  plan.bucket = options_.buckets.DecodeRows(plan.num_real_rows);
  plan.rows.resize(plan.bucket, PaddingRow());
  return plan;
}

void Scheduler::Done(const StepPlan& plan, const StepOutput& output, absl::Time now) {
  EndStep(plan);
  GLIMPSE_CHECK(static_cast<int>(output.tokens.size()) == plan.num_real_rows,
                "a step yields one token for each real row");
  for (int i = 0; i < plan.num_real_rows; ++i) {
    const StepRow& row = plan.rows[i];
    const auto entry = running_.find(row.sequence);
    if (entry == running_.end()) continue;  // a ghost
    if (plan.kind == StepKind::kVision) entry->second.ImageEncoded(now);
    if (!row.samples) continue;
    const std::optional<FinishReason> reason = entry->second.Accept(output.tokens[i], now);
    if (reason) End(entry, absl::OkStatus(), *reason, now);
  }
}

void Scheduler::Failed(const StepPlan& plan, const absl::Status& status, absl::Time now) {
  GLIMPSE_CHECK(!status.ok(), "a failed step has an error");
  EndStep(plan);
  for (int i = 0; i < plan.num_real_rows; ++i) {
    const auto entry = running_.find(plan.rows[i].sequence);
    if (entry == running_.end()) continue;  // a ghost
    End(entry, status, FinishReason::kStop, now);
  }
}

void Scheduler::AbortAll(const absl::Status& status, absl::Time now) {
  first_in_flight_ = next_plan_;
  for (auto entry = running_.begin(); entry != running_.end();) {
    entry = End(entry, status, FinishReason::kStop, now);
  }
  while (queue_->Front(now) != nullptr) FinishUnstarted(*queue_->PopFront(), status, now);
}

void Scheduler::EndStep(const StepPlan& plan) {
  GLIMPSE_CHECK(first_in_flight_ < next_plan_ && plan.number == first_in_flight_,
                "Done or Failed of a plan that is not the oldest in flight");
  ++first_in_flight_;
}

Scheduler::Running::iterator Scheduler::End(Running::iterator entry, const absl::Status& status,
                                            FinishReason reason, absl::Time now) {
  Sequence sequence = std::move(entry->second);
  const auto next = running_.erase(entry);
  free_slots_.push_back(sequence.slot());
  sequence.Finish(status, reason, now);
  return next;
}

}  // namespace glimpse
