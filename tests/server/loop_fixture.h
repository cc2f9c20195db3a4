// A serving loop over the fake engine, for tests without gRPC.
#ifndef GLIMPSE_TESTS_SERVER_LOOP_FIXTURE_H_
#define GLIMPSE_TESTS_SERVER_LOOP_FIXTURE_H_

#include <catch2/catch.hpp>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "preprocess/mutex.h"
#include "server/serving_loop.h"
#include "tests/fake_engine.h"
#include "tests/schedule/recording_sink.h"

namespace glimpse {

// Two slots.
inline ModelLimits LoopLimits() {
  ModelLimits limits;
  limits.vocabulary_size = 200;
  limits.max_context = 128;
  limits.image_size = 2;
  limits.image_rows = 5;
  limits.vision_layers = 3;
  limits.max_batch_size = 2;
  limits.block_size = 16;
  limits.num_blocks = 16;
  return limits;
}

inline SchedulerOptions LoopOptions(BatchPolicyKind policy = BatchPolicyKind::kAuto) {
  SchedulerOptions options;
  options.limits = LoopLimits();
  options.policy = policy;
  return options;
}

inline std::vector<int32_t> AnswerTo(std::vector<int32_t> prompt, int max_tokens) {
  TestClient nobody;
  return AnswerAlone(*MakeRequest(&nobody, std::move(prompt), max_tokens), LoopLimits());
}

// Writes down when Launch (L), Finish (F) and Upkeep (U) are called. Safe for all threads.
class Recorder : public StepRunner {
 public:
  // As FakeEngineOptions'.
  explicit Recorder(int depth, std::function<void(const StepPlan&)> on_launch = nullptr,
                    int upkeep = 0)
      : engine({LoopLimits(), {}, std::move(on_launch), depth, upkeep}) {}

  absl::Status Launch(const StepPlan& plan) override { return Note('L'), engine.Launch(plan); }
  absl::StatusOr<StepOutput> Finish() override { return Note('F'), engine.Finish(); }
  int depth() const override { return engine.depth(); }
  bool Upkeep() override { return Note('U'), engine.Upkeep(); }

  std::string Events() {
    MutexLock lock(&mutex_);
    return events_;
  }

  FakeEngine engine;

 private:
  void Note(char event) {
    MutexLock lock(&mutex_);
    events_ += event;
  }

  Mutex mutex_;
  std::string events_ ABSL_GUARDED_BY(mutex_);
};

// Read clients after Drain only: the loop's thread writes them.
struct LoopFixture {
  // `on_launch` runs on the loop's thread before each step.
  explicit LoopFixture(int depth, std::function<void(const StepPlan&)> on_launch = nullptr,
                       ServingLoopHooks hooks = {}, BatchPolicyKind policy = BatchPolicyKind::kAuto)
      : engine({LoopLimits(), {}, std::move(on_launch), depth, /*upkeep=*/0}),
        loop(LoopOptions(policy), &queue, &engine, &clock, std::move(hooks)) {}

  void Push(TestClient* client, int max_tokens) {
    std::unique_ptr<Request> request = MakeRequest(client, {1, 2, 3}, max_tokens);
    REQUIRE(queue.Push(request).ok());
  }

  RealClock clock;
  RequestQueue queue{RequestQueueOptions()};
  FakeEngine engine;
  ServingLoop loop;
};

}  // namespace glimpse

#endif  // GLIMPSE_TESTS_SERVER_LOOP_FIXTURE_H_
