#include "server/admission.h"

#include "absl/time/clock.h"
#include "preprocess/check.h"
#include "server/status.h"

namespace glimpse {

void Admission::Open() {
  MutexLock lock(&mutex_);
  if (state_ == State::kLoading) state_ = State::kOpen;
}

void Admission::Suspend() {
  MutexLock lock(&mutex_);
  if (state_ == State::kOpen) state_ = State::kLoading;
}

void Admission::Close() {
  MutexLock lock(&mutex_);
  state_ = State::kDraining;
}

absl::Status Admission::Enter(int64_t bytes) {
  MutexLock lock(&mutex_);
  if (state_ == State::kLoading) return LoadingError();
  if (state_ == State::kDraining) return DrainingError();
  if (preparing_bytes_ + bytes > max_preparing_bytes_) return QueueFullError();
  preparing_bytes_ += bytes;
  ++calls_;
  return absl::OkStatus();
}

void Admission::Prepared(int64_t bytes) {
  MutexLock lock(&mutex_);
  preparing_bytes_ -= bytes;
  GLIMPSE_CHECK(preparing_bytes_ >= 0, "a call was prepared twice");
}

void Admission::Leave() {
  MutexLock lock(&mutex_);
  GLIMPSE_CHECK(calls_ > 0, "a call left twice");
  if (--calls_ == 0) empty_.NotifyAll();
}

bool Admission::WaitUntilEmpty(absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  MutexLock lock(&mutex_);
  while (calls_ > 0) {
    const absl::Duration left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) return false;
    empty_.WaitFor(&mutex_, left);
  }
  return true;
}

int Admission::calls() const {
  MutexLock lock(&mutex_);
  return calls_;
}

}  // namespace glimpse
