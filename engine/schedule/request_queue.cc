#include "engine/schedule/request_queue.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "preprocess/check.h"
#include "preprocess/fail_point.h"
#include "preprocess/status_macros.h"

namespace glimpse {
namespace {

// OK if `asked` more fit behind `waiting`.
absl::Status CheckBound(const char* what, int64_t waiting, int64_t asked, int64_t limit) {
  if (asked <= limit - waiting) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat("the queue is full: ", waiting, " ", what,
                                                   " wait, ", asked, " more were asked for, ",
                                                   limit, " is the limit"));
}

}  // namespace

RequestQueue::RequestQueue(const RequestQueueOptions& options) : options_(options) {
  GLIMPSE_CHECK(options.max_requests >= 1 && options.max_tokens >= 1 && options.max_bytes >= 1,
                "a queue's bounds start at 1");
}

absl::Status RequestQueue::Push(std::unique_ptr<Request>& request) {
  GLIMPSE_RETURN_IF_ERROR(GLIMPSE_FAIL_POINT(kQueue));
  const int64_t tokens = request->TokenCost();
  const int64_t bytes = request->ByteCost();
  MutexLock lock(&mutex_);
  if (closed_) return absl::UnavailableError("the server takes no more requests");
  if (request->times.enqueued >= request->deadline) {
    return absl::DeadlineExceededError("the deadline has passed");
  }
  absl::Status status = CheckBound("requests", depth_.requests, 1, options_.max_requests);
  status.Update(CheckBound("tokens", depth_.tokens, tokens, options_.max_tokens));
  status.Update(CheckBound("bytes", depth_.bytes, bytes, options_.max_bytes));
  if (!status.ok()) return status;

  const Ticket ticket = next_ticket_++;
  const auto deadline = deadlines_.emplace(request->deadline, ticket).first;
  entries_.emplace_hint(entries_.end(), ticket, Entry{std::move(request), deadline});
  ++depth_.requests;
  depth_.tokens += tokens;
  depth_.bytes += bytes;
  woken_ = true;
  changed_.NotifyOne();
  return absl::OkStatus();
}

void RequestQueue::Close() {
  MutexLock lock(&mutex_);
  closed_ = true;
  changed_.NotifyOne();
}

bool RequestQueue::closed() const {
  MutexLock lock(&mutex_);
  return closed_;
}

void RequestQueue::Wake() {
  MutexLock lock(&mutex_);
  sweeps_left_ = 2;  // the rest of this round, and what stands before it
  woken_ = true;
  changed_.NotifyOne();
}

QueueDepth RequestQueue::depth() const {
  MutexLock lock(&mutex_);
  return depth_;
}

int64_t RequestQueue::num_accepted() const {
  MutexLock lock(&mutex_);
  return static_cast<int64_t>(next_ticket_);
}

absl::Time RequestQueue::NextDeadline() const {
  MutexLock lock(&mutex_);
  return deadlines_.empty() ? absl::InfiniteFuture() : deadlines_.begin()->first;
}

bool RequestQueue::WaitForWork(absl::Time deadline) {
  MutexLock lock(&mutex_);
  while (!woken_ && !closed_) {
    const absl::Duration left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) break;
    changed_.WaitFor(&mutex_, left);
  }
  woken_ = false;
  return !entries_.empty();
}

void RequestQueue::DropUnwanted(absl::Time now) {
  DropExpired(now);
  DropCancelled(now);
}

const Request* RequestQueue::Front(absl::Time now) {
  while (true) {
    const Request* first = nullptr;
    {
      MutexLock lock(&mutex_);
      if (entries_.empty()) return nullptr;
      first = entries_.begin()->second.request.get();
    }
    // Only this thread removes entries, so `first` outlives the lock.
    const absl::Status wanted = StillWanted(*first, now);
    if (wanted.ok()) return first;
    FinishUnstarted(*PopFront(), wanted, now);
  }
}

std::unique_ptr<Request> RequestQueue::PopFront() {
  MutexLock lock(&mutex_);
  GLIMPSE_CHECK(!entries_.empty(), "PopFront of an empty queue");
  return Take(entries_.begin());
}

std::unique_ptr<Request> RequestQueue::Take(Entries::iterator entry) {
  std::unique_ptr<Request> request = std::move(entry->second.request);
  deadlines_.erase(entry->second.deadline);
  entries_.erase(entry);
  --depth_.requests;
  depth_.tokens -= request->TokenCost();
  depth_.bytes -= request->ByteCost();
  return request;
}

void RequestQueue::DropExpired(absl::Time now) {
  std::vector<std::unique_ptr<Request>> expired;
  {
    MutexLock lock(&mutex_);
    while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
      expired.push_back(Take(entries_.find(deadlines_.begin()->second)));
    }
  }
  for (const auto& request : expired) FinishUnstarted(*request, StillWanted(*request, now), now);
}

void RequestQueue::DropCancelled(absl::Time now) {
  std::vector<std::pair<Ticket, const Request*>> asked;
  {
    MutexLock lock(&mutex_);
    const size_t most = sweeps_left_ > 0 ? kSweep : kQuietSweep;
    auto entry = entries_.lower_bound(sweep_from_);
    for (; entry != entries_.end() && asked.size() < most; ++entry) {
      asked.emplace_back(entry->first, entry->second.request.get());
    }
    const bool ends = entry == entries_.end();
    sweep_from_ = ends ? 0 : entry->first;
    if (ends && sweeps_left_ > 0) --sweeps_left_;
  }
  for (const auto& [ticket, request] : asked) {
    const absl::Status wanted = StillWanted(*request, now);
    if (wanted.ok()) continue;
    std::unique_ptr<Request> dropped;
    {
      MutexLock lock(&mutex_);
      dropped = Take(entries_.find(ticket));
    }
    FinishUnstarted(*dropped, wanted, now);
  }
}

}  // namespace glimpse
