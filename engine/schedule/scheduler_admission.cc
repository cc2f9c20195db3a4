// Who gets a slot and KV blocks, and who has to give them back.
#include <algorithm>
#include <iterator>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "engine/schedule/scheduler.h"
#include "preprocess/fail_point.h"

namespace glimpse {

// A slot is free, since the policy wants no more to run than there are.
void Scheduler::Admit(absl::Time now) {
  while (num_running() < targets_.batch_size) {
    const bool admitted = preempted_.empty() ? AdmitQueued(now) : AdmitPreempted();
    if (!admitted) return;
  }
}

bool Scheduler::AdmitPreempted() {
  Sequence& first = preempted_.front();
  if (!first.all_known()) return false;
  auto blocks =
      AdmissionBlocks(first.BlocksMissing(1), first.BlocksMissing(options_.kv_lookahead_tokens));
  if (!blocks) return false;
  const int64_t number = next_number_++;
  first.Restart(number, TakeSlot(), *std::move(blocks));
  running_.try_emplace(number, std::move(first));
  preempted_.pop_front();
  return true;
}

bool Scheduler::AdmitQueued(absl::Time now) {
  const ModelLimits& limits = options_.limits;
  const Request* first = queue_->Front(now);
  if (first == nullptr) return false;
  if (const absl::Status can_run = CheckCanRun(*first, limits); !can_run.ok()) {
    FinishUnstarted(*queue_->PopFront(), can_run, now);
    return true;
  }
  const int64_t prompt = PromptRows(*first, limits);
  const int64_t soon =
      std::min(prompt + options_.kv_lookahead_tokens, KvRowsNeeded(*first, limits));
  auto blocks = AdmissionBlocks(BlocksFor(prompt + 1, limits), BlocksFor(soon, limits));
  if (!blocks) return false;
  std::unique_ptr<Request> request = queue_->PopFront();
  if (const absl::Status failed = GLIMPSE_FAIL_POINT(kAdmission); !failed.ok()) {
    FinishUnstarted(*request, failed, now);
    return true;
  }
  request->times.admitted = now;
  const int64_t number = next_number_++;
  running_.try_emplace(number, number, TakeSlot(), *std::move(blocks), std::move(request), &limits);
  return true;
}

std::optional<std::vector<BlockHandle>> Scheduler::AdmissionBlocks(int64_t count, int64_t soon) {
  int64_t needed = count;
  if (!running_.empty()) needed = std::max(count, soon);
  for (const auto& [number, sequence] : running_) {
    needed += sequence.BlocksMissing(options_.kv_lookahead_tokens);
  }
  if (needed > pool_.num_free()) return std::nullopt;
  return pool_.Allocate(static_cast<int>(count));
}

int Scheduler::TakeSlot() {
  const int slot = free_slots_.back();
  free_slots_.pop_back();
  return slot;
}

bool Scheduler::MakeRoom(Running::iterator entry) {
  while (entry->second.BlocksMissing(0) > 0) {
    if (auto block = pool_.Allocate(1)) {
      entry->second.AddBlocks(*std::move(block));
      continue;
    }
    const bool itself = std::next(entry) == running_.end();
    PreemptYoungest();
    if (itself) return false;
  }
  return true;
}

// It is older than all that were preempted before: they are younger than whoever runs.
void Scheduler::PreemptYoungest() {
  const auto youngest = std::prev(running_.end());
  free_slots_.push_back(youngest->second.slot());
  youngest->second.Preempt();
  preempted_.push_front(std::move(youngest->second));
  running_.erase(youngest);
  ++preemptions_;
}

// Only an idle server's first requests wait, while more can come, and not if one of them has no
// time for it.
std::optional<absl::Time> Scheduler::CompanyUntil() const {
  if (targets_.longest_wait == absl::ZeroDuration()) return std::nullopt;
  if (running_.empty() || num_running() >= targets_.batch_size) return std::nullopt;
  if (!in_flight_.empty() || !preempted_.empty()) return std::nullopt;
  if (queue_->closed() || queue_->depth().requests > 0) return std::nullopt;
  const absl::Time until = running_.begin()->second.admitted() + targets_.longest_wait;
  for (const auto& [number, sequence] : running_) {
    // Who waits has at least as long again for its answer.
    const absl::Time in_hurry = until + targets_.longest_wait;
    if (!sequence.fresh() || sequence.request().deadline <= in_hurry) return std::nullopt;
  }
  return until;
}

}  // namespace glimpse
