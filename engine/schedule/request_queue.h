// Requests that wait for a slot: first in, first out, bounded.
//
//   std::unique_ptr<Request> request = ...;
//   absl::Status status = queue.Push(request);   // any thread
//   if (!status.ok()) ...                        // refused: the caller still has the request
//
//   queue.DropUnwanted(now);                     // serving thread, once before each step
//   while (const Request* first = queue.Front(now)) {
//     if (!Fits(*first)) break;                  // it stays where it is; nobody overtakes it
//     std::unique_ptr<Request> request = queue.PopFront();
//   }
//
// Every accepted request either leaves through `PopFront`, or the queue gives it its one `Finish`:
// DEADLINE_EXCEEDED or CANCELLED. Sinks are never called with the lock held, so a sink may call
// `Wake` under a lock of its own.
//
// What a step pays does not grow with the queue's length. Expired entries are found at the front of
// an ordered index of deadlines, however deep they stand, in the first call after they expired.
// Cancelled ones can only be asked: the client has left already, and what has to come back soon is
// the room that it takes. Whoever marks a client as gone calls `Wake`; then the calls ask `kSweep`
// entries each, round robin, until all were asked. Without a Wake it is `kQuietSweep`.
#ifndef GLIMPSE_ENGINE_SCHEDULE_REQUEST_QUEUE_H_
#define GLIMPSE_ENGINE_SCHEDULE_REQUEST_QUEUE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "engine/schedule/request.h"
#include "preprocess/mutex.h"

namespace glimpse {

// Each bound is >= 1. A request over a bound by itself is refused even by an empty queue.
struct RequestQueueOptions {
  int64_t max_requests = 256;
  int64_t max_tokens = 1 << 20;   // sum of Request::TokenCost
  int64_t max_bytes = 2LL << 30;  // sum of Request::ByteCost; a picture of the 9B takes 3.8 MB
};

// What waits at present.
struct QueueDepth {
  int64_t requests = 0;
  int64_t tokens = 0;
  int64_t bytes = 0;
};

class RequestQueue {
 public:
  static constexpr int kSweep = 64;
  static constexpr int kQuietSweep = 4;

  explicit RequestQueue(const RequestQueueOptions& options);
  // Requests that still wait are destroyed without a `Finish`: empty the queue first.
  ~RequestQueue() = default;
  RequestQueue(const RequestQueue&) = delete;
  RequestQueue& operator=(const RequestQueue&) = delete;

  // Any thread. Takes the request only on OK. RESOURCE_EXHAUSTED: it would exceed a bound, with the
  // value and the limit; UNAVAILABLE: after `Close`; DEADLINE_EXCEEDED: its deadline was over at
  // its `times.enqueued`, which is the time of the call where the caller has set it.
  absl::Status Push(std::unique_ptr<Request>& request);

  // Any thread. From now on `Push` refuses; what waits can still be taken. Cannot be undone.
  void Close();
  bool closed() const;

  // Any thread: makes the present or the next `WaitForWork` return. After a client has left, too.
  void Wake();

  QueueDepth depth() const;
  // Any thread: how many were ever accepted.
  int64_t num_accepted() const;

  // The rest is for the one consumer, the serving thread.

  // Blocks until an entry came or somebody called `Wake` since the last call, the queue is closed,
  // or the real time is `deadline`. So entries that have to stay where they are keep nobody awake.
  // True if an entry waits.
  bool WaitForWork(absl::Time deadline);

  // Gives expired and cancelled entries their `Finish`; see above which it finds.
  void DropUnwanted(absl::Time now);

  // The earliest deadline of the entries; InfiniteFuture if there is none.
  absl::Time NextDeadline() const;

  // The first entry that is neither cancelled nor expired, after dropping those before it; null
  // when none waits. It stays in the queue, and the pointer is good until PopFront, DropUnwanted or
  // the next Front.
  const Request* Front(absl::Time now);

  // Takes the entry that the last `Front` returned.
  std::unique_ptr<Request> PopFront();

 private:
  using Ticket = uint64_t;  // counts accepted requests: the order of the queue
  using Deadlines = std::set<std::pair<absl::Time, Ticket>>;
  struct Entry {
    std::unique_ptr<Request> request;
    Deadlines::iterator deadline;
  };
  using Entries = std::map<Ticket, Entry>;

  std::unique_ptr<Request> Take(Entries::iterator entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void DropExpired(absl::Time now) ABSL_LOCKS_EXCLUDED(mutex_);
  void DropCancelled(absl::Time now) ABSL_LOCKS_EXCLUDED(mutex_);

  const RequestQueueOptions options_;

  mutable Mutex mutex_;
  CondVar changed_;  // `closed_` or `woken_` was set
  Entries entries_ ABSL_GUARDED_BY(mutex_);
  Deadlines deadlines_ ABSL_GUARDED_BY(mutex_);
  QueueDepth depth_ ABSL_GUARDED_BY(mutex_);
  Ticket next_ticket_ ABSL_GUARDED_BY(mutex_) = 0;
  Ticket sweep_from_ ABSL_GUARDED_BY(mutex_) = 0;  // the next entry to be asked whether it is gone
  // How often the end has to be reached until all that waited at the last Wake were asked.
  int sweeps_left_ ABSL_GUARDED_BY(mutex_) = 0;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;  // by an entry that came, or by Wake
};

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_SCHEDULE_REQUEST_QUEUE_H_
