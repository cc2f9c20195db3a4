// A fixed number of threads behind a bounded queue: where requests are tokenised and pictures
// decoded, so that gRPC's threads never are.
#ifndef GLIMPSE_PREPROCESS_WORKER_POOL_H_
#define GLIMPSE_PREPROCESS_WORKER_POOL_H_

#include <cstddef>
#include <deque>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "preprocess/mutex.h"

namespace glimpse {

class WorkerPool {
 public:
  using Task = absl::AnyInvocable<void()>;

  // threads: at least 1. max_queued: tasks that wait for a thread, not counting those that run; at
  // least 1.
  WorkerPool(int threads, int max_queued);

  // Runs what was accepted, then ends the threads. Must not be called from a task, nor while
  // another thread is in Submit.
  ~WorkerPool();

  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // Any thread, tasks included. Never blocks on a task. Takes the task only on OK, and then runs it
  // exactly once; RESOURCE_EXHAUSTED, with the caller's task untouched, when max_queued tasks wait.
  // Tasks start in the order of their acceptance. A task must not throw: who waits for its result
  // would never hear, so an exception (also bad_alloc) ends the process.
  absl::Status Submit(Task&& task);

 private:
  void Work();  // a thread's life

  const size_t max_queued_;
  Mutex mutex_;
  CondVar changed_;  // a task came, or the end
  std::deque<Task> queue_ ABSL_GUARDED_BY(mutex_);
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;  // last: they use all of the above
};

}  // namespace glimpse

#endif  // GLIMPSE_PREPROCESS_WORKER_POOL_H_
