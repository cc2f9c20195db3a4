#include "engine/schedule/scheduler.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>

#include "preprocess/check.h"

namespace glimpse {

Scheduler::Scheduler(const SchedulerOptions& options, RequestQueue* queue)
    : options_(options), queue_(queue), pool_(options.limits.num_blocks) {
  GLIMPSE_CHECK(options.max_prefill_tokens >= 1, "a prefill step needs room for a token");
  GLIMPSE_CHECK(options.max_vision_rows >= 1, "a vision step needs room for a picture");
  GLIMPSE_CHECK(options.depth >= 1, "a plan must be allowed to be in flight");
  GLIMPSE_CHECK(options.kv_lookahead_tokens >= 0, "a lookahead goes ahead");
  GLIMPSE_CHECK(options.limits.max_batch_size >= 1, "a batch needs a slot");
  GLIMPSE_CHECK(options.limits.block_size >= 1, "a KV block needs a row");
  GLIMPSE_CHECK(options.limits.image_rows == 0 || options.limits.vision_layers >= 1,
                "a tower needs a layer");
  for (int slot = options.limits.max_batch_size - 1; slot >= 0; --slot) free_slots_.push_back(slot);
}

StepPlan Scheduler::Next(absl::Time now) {
  GLIMPSE_CHECK(static_cast<int>(in_flight_.size()) < options_.depth,
                "Next before an earlier plan was done or failed");
  queue_->DropUnwanted(now);
  DropUnwanted(now);
  Measure(now);
  Admit(now);
  StepPlan plan = Choose(now);
  if (plan.kind == StepKind::kIdle) return plan;
  plan.number = next_plan_++;
  in_flight_.push_back({now, costs_.Estimate(plan.kind, plan.Size())});
  Advance(plan);
  return plan;
}

void Scheduler::DropUnwanted(absl::Time now) {
  for (auto entry = running_.begin(); entry != running_.end();) {
    const absl::Status wanted = StillWanted(entry->second.request(), now);
    entry = wanted.ok() ? std::next(entry) : End(entry, wanted, FinishReason::kStop, now);
  }
  for (auto entry = preempted_.begin(); entry != preempted_.end();) {
    const absl::Status wanted = StillWanted(entry->request(), now);
    entry = wanted.ok() ? std::next(entry) : End(entry, wanted, FinishReason::kStop, now);
  }
}

void Scheduler::Measure(absl::Time now) {
  meter_.Arrived(queue_->num_accepted(), now);
  const LoadStats stats = {meter_.arrivals_per_second(), meter_.stay(), num_running(),
                           queue_->depth().requests + static_cast<int64_t>(preempted_.size())};
  targets_ = ChooseTargets(options_.policy, stats, options_.buckets.decode_rows(),
                           options_.limits.max_batch_size);
}

StepReport Scheduler::Done(const StepPlan& plan, const StepOutput& output, absl::Time now) {
  const absl::Duration duration = EndStep(plan, now);
  costs_.Add(plan.kind, plan.Size(), duration);
  GLIMPSE_CHECK(static_cast<int>(output.tokens.size()) == plan.num_real_rows,
                "a step yields one token for each real row");
  const bool vision = plan.kind == StepKind::kVision;
  const bool encoded = vision && plan.end_layer == options_.limits.vision_layers;
  for (int i = 0; i < plan.num_real_rows; ++i) {
    const StepRow& row = plan.rows[i];
    if (row.samples) Accept(row, output.tokens[i], now);
    if (!encoded) continue;
    const auto entry = running_.find(row.sequence);
    if (entry != running_.end()) entry->second.ImageEncoded(now);
  }
  return {plan.kind,        plan.num_real_rows, plan.bucket,
          plan.NumTokens(), duration,           vision && plan.first_layer == 0,
          encoded};
}

void Scheduler::Accept(const StepRow& row, const SampledToken& token, absl::Time now) {
  const auto entry = running_.find(row.sequence);
  const auto waiting = entry == running_.end() ? FindPreempted(row.sequence) : preempted_.end();
  if (entry == running_.end() && waiting == preempted_.end()) return;  // a ghost
  Sequence& sequence = entry != running_.end() ? entry->second : *waiting;
  const std::optional<FinishReason> reason = sequence.Accept(token, now);
  if (!reason) return;
  if (entry != running_.end()) {
    End(entry, absl::OkStatus(), *reason, now);
  } else {
    End(waiting, absl::OkStatus(), *reason, now);
  }
}

void Scheduler::Failed(const StepPlan& plan, const absl::Status& status, absl::Time now) {
  GLIMPSE_CHECK(!status.ok(), "a failed step has an error");
  EndStep(plan, now);
  for (int i = 0; i < plan.num_real_rows; ++i) {
    const int64_t number = plan.rows[i].sequence;
    if (const auto entry = running_.find(number); entry != running_.end()) {
      End(entry, status, FinishReason::kStop, now);
    } else if (const auto waiting = FindPreempted(number); waiting != preempted_.end()) {
      End(waiting, status, FinishReason::kStop, now);
    }  // else a ghost
  }
}

void Scheduler::AbortAll(const absl::Status& status, absl::Time now) {
  in_flight_.clear();
  for (auto entry = running_.begin(); entry != running_.end();) {
    entry = End(entry, status, FinishReason::kStop, now);
  }
  for (auto entry = preempted_.begin(); entry != preempted_.end();) {
    entry = End(entry, status, FinishReason::kStop, now);
  }
  while (queue_->Front(now) != nullptr) FinishUnstarted(*queue_->PopFront(), status, now);
}

absl::Duration Scheduler::EndStep(const StepPlan& plan, absl::Time now) {
  GLIMPSE_CHECK(
      !in_flight_.empty() && plan.number == next_plan_ - static_cast<int64_t>(in_flight_.size()),
      "Done or Failed of a plan that is not the oldest in flight");
  const absl::Time begun = std::max(in_flight_.front().planned, last_done_);
  in_flight_.pop_front();
  last_done_ = now;
  return std::max(now - begun, absl::ZeroDuration());
}

Scheduler::Running::iterator Scheduler::End(Running::iterator entry, const absl::Status& status,
                                            FinishReason reason, absl::Time now) {
  Sequence sequence = std::move(entry->second);
  const auto next = running_.erase(entry);
  free_slots_.push_back(sequence.slot());
  meter_.Ended(now - sequence.admitted());
  sequence.Finish(status, reason, now);
  return next;
}

Scheduler::Preempted::iterator Scheduler::End(Preempted::iterator entry, const absl::Status& status,
                                              FinishReason reason, absl::Time now) {
  Sequence sequence = std::move(*entry);
  const auto next = preempted_.erase(entry);
  meter_.Ended(now - sequence.admitted());
  sequence.Finish(status, reason, now);
  return next;
}

Scheduler::Preempted::iterator Scheduler::FindPreempted(int64_t number) {
  return std::find_if(preempted_.begin(), preempted_.end(),
                      [&](const Sequence& sequence) { return sequence.number() == number; });
}

absl::Time Scheduler::NextLook() const {
  return std::min(NextDeadline(), CompanyUntil().value_or(absl::InfiniteFuture()));
}

SchedulerLoad Scheduler::load() const {
  SchedulerLoad load;
  load.running = num_running();
  load.waiting = queue_->depth().requests + static_cast<int64_t>(preempted_.size());
  load.kv_blocks_free = pool_.num_free();
  load.kv_blocks_live = pool_.num_blocks() - pool_.num_free();
  load.preemptions = preemptions_;
  load.targets = targets_;
  return load;
}

}  // namespace glimpse
