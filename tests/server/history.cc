#include "tests/server/history.h"

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "engine/schedule/clock.h"
#include "engine/schedule/request_queue.h"
#include "preprocess/check.h"
#include "preprocess/fail_point.h"
#include "preprocess/mutex.h"
#include "preprocess/status_macros.h"
#include "preprocess/worker_pool.h"
#include "server/metrics.h"
#include "server/serving_loop.h"
#include "server/status.h"
#include "server/token_stream.h"
#include "tests/fake_engine.h"
#include "tests/server/byte_tokenizer.h"
#include "tests/server/history_story.h"

namespace glimpse {
namespace {

constexpr int kClients = 22;  // at the same time: more than slots and queue hold
constexpr absl::Duration kHung = absl::Seconds(60);
constexpr absl::Duration kBackOff = absl::Milliseconds(3);  // of a client that was refused

// Few blocks for the slots, so that sequences are preempted.
ModelLimits HistoryLimits() {
  ModelLimits limits;
  limits.vocabulary_size = kVocabularySize;
  limits.max_context = 320;
  limits.image_size = 2;
  limits.image_rows = 6;
  limits.vision_layers = 4;
  limits.stop_ids = {kEndOfText};
  limits.max_batch_size = 8;
  limits.block_size = 16;
  limits.num_blocks = 24;
  return limits;
}

SchedulerOptions Schedule(const HistoryOptions& options) {
  SchedulerOptions schedule;
  schedule.limits = HistoryLimits();
  schedule.max_prefill_tokens = 64;
  schedule.max_vision_rows = 2;
  schedule.policy = options.policy;
  schedule.kv_lookahead_tokens = 8;
  return schedule;
}

// What all clients share: the server.
struct Served {
  explicit Served(const HistoryOptions& options)
      : seed(options.seed),
        engine({HistoryLimits(), {}, nullptr, options.depth}),
        loop(Schedule(options), &queue, &engine, &clock, Hooks()) {}

  ServingLoopHooks Hooks() {
    ServingLoopHooks hooks;
    hooks.metrics = &metrics;
    return hooks;
  }

  const uint64_t seed;
  RealClock clock;
  Metrics metrics{"history", BucketTable()};
  RequestQueue queue{{/*max_requests=*/13, /*max_tokens=*/1 << 20, /*max_bytes=*/1 << 30}};
  FakeEngine engine;
  ServingLoop loop;
  WorkerPool pool{3, kClients};
};

// How a client hears of what other threads did. Outlives its streams, whose writers may still be
// about to return from a call when the client has seen the end.
class Ear {
 public:
  void Call() {
    MutexLock lock(&mutex_);
    ++calls_;
    called_.NotifyOne();
  }
  void Refuse(absl::Status status) {
    MutexLock lock(&mutex_);
    refusal_ = std::move(status);
    ++calls_;
    called_.NotifyOne();
  }

  // The next call, which was not waited for yet; false: `timeout` has passed without one.
  bool Wait(absl::Duration timeout) {
    const absl::Time deadline = absl::Now() + timeout;
    MutexLock lock(&mutex_);
    while (calls_ == heard_) {
      const absl::Duration left = deadline - absl::Now();
      if (left <= absl::ZeroDuration()) return false;
      called_.WaitFor(&mutex_, left);
    }
    ++heard_;
    return true;
  }

  std::optional<absl::Status> TakeRefusal() {
    MutexLock lock(&mutex_);
    return std::exchange(refusal_, std::nullopt);
  }
  // Calls that were not waited for. They are forgotten.
  int TakeUnheard() {
    MutexLock lock(&mutex_);
    return calls_ - std::exchange(heard_, calls_);
  }

 private:
  Mutex mutex_;
  CondVar called_;
  int calls_ ABSL_GUARDED_BY(mutex_) = 0;
  int heard_ ABSL_GUARDED_BY(mutex_) = 0;
  std::optional<absl::Status> refusal_ ABSL_GUARDED_BY(mutex_);
};

// One request, from its sending to its end, on the client's thread.
class Exchange {
 public:
  Exchange(Served* served, Ear* ear, const Story* story)
      : served_(served),
        ear_(ear),
        story_(story),
        stream_(StreamOptions(*story), ByteTokenizer(), [ear] { ear->Call(); }) {}

  Outcome Run() {
    sent_ = served_->clock.Now();
    outcome_.deadline = sent_ + story_->deadline;
    if (story_->leaves_after == absl::ZeroDuration()) Leave();
    Send();
    Hear();  // that it was accepted, or refused
    if (std::optional<absl::Status> refusal = ear_->TakeRefusal()) {
      outcome_.refused = true;
      outcome_.status = *std::move(refusal);
    } else {
      ReadToTheEnd();
    }
    outcome_.ended = served_->clock.Now();
    outcome_.calls += ear_->TakeUnheard();
    return std::move(outcome_);
  }

 private:
  static TokenStreamOptions StreamOptions(const Story& story) {
    TokenStreamOptions options;
    options.max_bytes = story.max_stream_bytes;
    return options;
  }

  // As ChatStream does it: prepared and queued on the pool, which touches the stream no more once
  // the request is in the queue.
  void Send() {
    stream_.Start(v1::Started());
    auto request = std::make_unique<Request>(Copy(*story_->request));
    request->deadline = outcome_.deadline;
    request->sink = stream_.MakeSink();
    const absl::Status sent = served_->pool.Submit(
        [served = served_, ear = ear_, request = std::move(request)]() mutable {
          const absl::Status status = Enqueue(*served, request);
          if (status.ok()) {
            ear->Call();
          } else {
            ear->Refuse(status);
          }
        });
    GLIMPSE_CHECK(sent.ok(), "the pool has room for each client");
  }

  static Request Copy(const Request& from) {
    Request copy;
    copy.id = from.id;
    copy.prompt = from.prompt;
    copy.image_at = from.image_at;
    copy.image = from.image;
    copy.sampling = from.sampling;
    copy.max_tokens = from.max_tokens;
    copy.ignore_stop_ids = from.ignore_stop_ids;
    return copy;
  }

  static absl::Status Enqueue(Served& served, std::unique_ptr<Request>& request) {
    GLIMPSE_RETURN_IF_ERROR(GLIMPSE_FAIL_POINT(kPreprocess));
    request->times.enqueued = served.clock.Now();
    return served.queue.Push(request);
  }

  // Waits to be called; leaves when it is time to.
  void Hear() {
    if (!outcome_.left && story_->leaves_after < absl::InfiniteDuration()) {
      if (ear_->Wait(sent_ + story_->leaves_after - served_->clock.Now())) return;
      Leave();
    }
    GLIMPSE_CHECK(ear_->Wait(kHung), "a request hangs");
  }

  void Leave() {
    outcome_.left = true;
    stream_.MarkGone();
    served_->queue.Wake();
  }

  void ReadToTheEnd() {
    for (int messages = 0;; ++messages) {
      absl::SleepFor(story_->read_pause);
      const bool late = served_->clock.Now() >= sent_ + story_->leaves_after;
      if (!outcome_.left && (late || messages == story_->leaves_at_message)) Leave();
      StreamEvent event = stream_.Take();
      while (event.kind == StreamEvent::Kind::kNothing) {
        ++outcome_.waits;
        Hear();
        ++outcome_.calls;
        event = stream_.Take();
      }
      Note(event);
      if (event.kind != StreamEvent::Kind::kMessage) return;
    }
  }

  void Note(const StreamEvent& event) {
    const v1::ChatResponse& message = event.message;
    outcome_.status = event.status;
    outcome_.started_messages += message.has_started();
    outcome_.ids.insert(outcome_.ids.end(), message.delta().token_ids().begin(),
                        message.delta().token_ids().end());
    if (message.has_finished()) outcome_.finished = message.finished();
  }

  Served* const served_;
  Ear* const ear_;
  const Story* const story_;
  absl::Time sent_;
  Outcome outcome_;
  TokenStream stream_;
};

class History {
 public:
  explicit History(const HistoryOptions& options) : options_(options), served_(options) {}

  HistoryReport Run() {
    FailSomeSteps();
    std::vector<std::thread> clients;
    for (int i = 0; i < kClients; ++i) clients.emplace_back([this] { BeClients(); });
    for (std::thread& client : clients) client.join();
    served_.loop.RunWhenIdle([this] { CheckNothing("waits", served_.queue.depth().requests); });
    served_.loop.Drain(absl::InfiniteFuture());
    CheckNothing("runs", served_.metrics.requests_running.Value());
    CheckNothing("holds KV blocks", served_.metrics.kv_blocks_live.Value());
    MutexLock lock(&mutex_);
    report_.preemptions = static_cast<int>(served_.metrics.preemptions_total.Value());
    return report_;
  }

 private:
  // The engine's own faults, which need no fail points.
  void FailSomeSteps() {
    for (int64_t step = 100; step < 100 * options_.requests; step += 700) {
      served_.engine.FailLaunch(step, absl::InternalError("injected into a launch"));
      served_.engine.FailFinish(step + 350, absl::InternalError("injected into a step"));
    }
  }

  void BeClients() {
    Ear ear;
    for (int index = next_++; index < options_.requests; index = next_++) {
      const Story story = MakeStory(options_.seed, index, HistoryLimits());
      const Outcome outcome = Exchange(&served_, &ear, &story).Run();
      const std::string violation = Violation(story, outcome);
      if (!violation.empty()) Add(absl::StrCat("request ", index, ": ", violation));
      {
        MutexLock lock(&mutex_);
        ++report_.ends[EndName(outcome)];
      }
      if (outcome.refused) absl::SleepFor(kBackOff);
    }
  }

  static std::string EndName(const Outcome& outcome) {
    if (outcome.refused && absl::IsResourceExhausted(outcome.status)) return "QUEUE_FULL";
    const StatusWords words = ToWords(outcome.status);
    return words.reason == "SLOW_READER" ? words.reason : words.code;
  }

  void CheckNothing(const char* does, double count) {
    if (count != 0) Add(absl::StrCat("when all have ended ", count, " still ", does));
  }

  void Add(std::string violation) {
    MutexLock lock(&mutex_);
    if (report_.violations.size() < 10) report_.violations.push_back(std::move(violation));
  }

  const HistoryOptions options_;
  Served served_;
  std::atomic<int> next_ = 0;
  Mutex mutex_;
  HistoryReport report_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

HistoryReport RunHistory(const HistoryOptions& options) {
  // Before any thread that passes a point.
  const absl::Status set = SetFailPoints(options.fail_points, options.seed);
  GLIMPSE_CHECK(set.ok(), "the fail points are known");
  HistoryReport report = History(options).Run();
  GLIMPSE_CHECK(SetFailPoints("", 0).ok(), "no fail points can be set");
  return report;
}

}  // namespace glimpse
