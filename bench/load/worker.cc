#include "bench/load/worker.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/time/clock.h"

namespace glimpse::bench {
namespace {

// The share of `total` that thread `index` of `threads` takes.
int ShareOf(int total, int index, int threads) {
  return total / threads + (index < total % threads ? 1 : 0);
}

}  // namespace

Worker::Worker(const LoadOptions& options, const Target& target, int index, absl::Time start,
               Counters* counters)
    : options_(options),
      target_(target),
      index_(index),
      start_(start),
      counters_(counters),
      random_(options.seed + static_cast<uint64_t>(index)),
      now_(start) {
  const int connections = ShareOf(options.connections, index, options.threads);
  for (int i = 0; i < connections; ++i) {
    stubs_.push_back(v1::ChatService::NewStub(Connect(options.server)));
  }
  slow_stub_ = v1::ChatService::NewStub(Connect(options.server, /*slow_reader=*/true));
}

void Worker::Run() {
  if (options_.rate > 0) {
    ArriveAt(start_);
  } else {
    const int places = ShareOf(options_.concurrency, index_, options_.threads);
    for (int i = 0; i < places; ++i) SendNext();
    if (places == 0) Stop();  // no call that ends will do it
  }
  if (options_.duration != absl::InfiniteDuration()) {
    After(options_.duration, [this] { Stop(); });
    After(options_.duration + options_.drain, [this] { CancelAll(/*slow_readers_only=*/false); });
  }
  while (!stopped_ || !calls_.empty()) {
    const absl::Time next = timers_.empty() ? absl::InfiniteFuture() : timers_.begin()->first;
    void* tag = nullptr;
    bool ok = false;
    const auto result = queue_.AsyncNext(&tag, &ok, absl::ToChronoTime(next));
    now_ = absl::Now();
    if (result == grpc::CompletionQueue::GOT_EVENT) OnEvent(static_cast<Call*>(tag), ok);
    RunTimers();
  }
  queue_.Shutdown();
}

void Worker::After(absl::Duration delay, std::function<void()> task) {
  timers_.emplace(now_ + delay, std::move(task));
}

void Worker::RunTimers() {
  while (!timers_.empty() && timers_.begin()->first <= now_) {
    const auto timer = timers_.extract(timers_.begin());
    timer.mapped()();
  }
}

void Worker::ArriveAt(absl::Time planned) {
  if (stopped_) return;
  tally_.OnLateArrival(now_ - planned);
  SendNext();
  const double rate = options_.rate / options_.threads;
  const double gap =
      options_.steady ? 1 / rate : std::exponential_distribution<double>(rate)(random_);
  const absl::Time next = planned + absl::Seconds(gap);
  timers_.emplace(next, [this, next] { ArriveAt(next); });
}

void Worker::SendNext() {
  if (stopped_) return;
  const int64_t number = counters_->next_number++;
  if (number >= options_.requests) {
    Stop();
    return;
  }
  const CallPlan plan = PlanCall(options_.mix, options_.seed, number);
  const v1::ChatRequest request = target_.MakeRequest(plan);
  v1::ChatService::Stub* const stub =
      plan.slow_reader ? slow_stub_.get() : stubs_[number % stubs_.size()].get();
  const absl::Time start = absl::Now();
  auto call = std::make_unique<Call>(plan, stub, request, start + options_.deadline, &queue_);
  call->progress.start = start;
  call->progress.measured = !plan.slow_reader && start >= start_ + options_.warm_up;
  if (!plan.slow_reader) ++fast_calls_;
  ++counters_->running;
  if (plan.cancel_after == CallPlan::kAtOnce) Cancel(call.get());
  calls_.emplace(number, std::move(call));
}

void Worker::OnEvent(Call* call, bool ok) {
  switch (call->Proceed(ok)) {
    case Call::Event::kNothing:
      return;
    case Call::Event::kMessage:
      OnMessage(call);
      return;
    case Call::Event::kEnded:
      OnEnd(call);
      return;
  }
}

void Worker::OnMessage(Call* call) {
  const v1::ChatResponse& message = call->message();
  const CallPlan& plan = call->plan();
  ++counters_->messages;
  if (message.has_delta()) {
    tally_.OnDelta(plan, message.delta().token_ids_size(), now_, &call->progress);
    counters_->tokens += message.delta().token_ids_size();
  }
  const bool started_only = plan.cancel_after == CallPlan::kOnStarted;
  if (started_only || call->progress.tokens >= plan.cancel_after) Cancel(call);
  ReadNext(call);
}

void Worker::ReadNext(Call* call) {
  if (!call->plan().slow_reader || call->cancelled()) {
    call->Read();
  } else if (options_.slow_read != absl::InfiniteDuration()) {
    After(options_.slow_read, [this, number = call->plan().number] {
      const auto found = calls_.find(number);
      if (found != calls_.end() && found->second->waits_for_read()) found->second->Read();
    });
  }
}

void Worker::OnEnd(Call* call) {
  const CallPlan plan = call->plan();
  const bool failed = !call->status().ok() && !call->cancelled();
  CountEnd(*call);
  if (!plan.slow_reader) --fast_calls_;
  calls_.erase(plan.number);
  if (options_.rate == 0 && failed) After(options_.pause, [this] { SendNext(); });
  if (options_.rate == 0 && !failed) SendNext();
  if (stopped_ && fast_calls_ == 0) CancelAll(/*slow_readers_only=*/true);
}

void Worker::CountEnd(const Call& call) {
  const bool ok = call.status().ok();
  const bool complete = ok && call.progress.tokens == call.plan().answer_tokens;
  CallEnd end = EndOf(call.status(), call.message().finished());
  if (!ok && call.cancelled()) end.second = "by this client";
  tally_.OnEnd(call.plan(), call.progress, end, complete, now_);
  --counters_->running;
  if (!ok) {
    ++(call.cancelled() ? counters_->cancelled : counters_->failed);
  } else if (!complete) {
    ++counters_->wrong;
  } else {
    ++counters_->completed;
    if (!Meets(options_.objectives, call.progress, now_)) return;
    ++counters_->good;
    counters_->good_tokens += call.progress.tokens;
  }
}

void Worker::Cancel(Call* call) {
  if (call->cancelled()) return;
  call->Cancel();
}

void Worker::CancelAll(bool slow_readers_only) {
  for (const auto& [number, call] : calls_) {
    if (slow_readers_only && !call->plan().slow_reader) continue;
    Cancel(call.get());
    if (call->waits_for_read()) call->Read();
  }
}

void Worker::Stop() {
  stopped_ = true;
  if (fast_calls_ == 0) CancelAll(/*slow_readers_only=*/true);
}

}  // namespace glimpse::bench
