#include "preprocess/worker_pool.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "preprocess/check.h"

namespace glimpse {

WorkerPool::WorkerPool(int threads, int max_queued) : max_queued_(max_queued) {
  GLIMPSE_CHECK(threads >= 1 && max_queued >= 1, "a worker pool needs threads and room to wait");
  threads_.reserve(threads);
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Work(); });
}

WorkerPool::~WorkerPool() {
  {
    MutexLock lock(&mutex_);
    ending_ = true;
  }
  changed_.NotifyAll();
  for (std::thread& thread : threads_) thread.join();
}

absl::Status WorkerPool::Submit(Task&& task) {
  {
    MutexLock lock(&mutex_);
    if (queue_.size() >= max_queued_) {
      return absl::ResourceExhaustedError(
          absl::StrCat("the preprocessing queue is full with ", max_queued_, " tasks"));
    }
    queue_.push_back(std::move(task));
  }
  changed_.NotifyOne();
  return absl::OkStatus();
}

void WorkerPool::Work() {
  while (true) {
    Task task;
    {
      MutexLock lock(&mutex_);
      while (queue_.empty() && !ending_) changed_.Wait(&mutex_);
      if (queue_.empty()) return;
      task = std::move(queue_.front());
      queue_.pop_front();
    }
    task();
  }
}

}  // namespace glimpse
