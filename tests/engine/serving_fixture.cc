#include "tests/engine/serving_fixture.h"

#include <catch2/catch.hpp>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include "engine/schedule/request_queue.h"
#include "engine/schedule/scheduler.h"

namespace glimpse {
namespace {

class Collector : public TokenSink {
 public:
  Collector(const Prompt& prompt, Answer* answer)
      : stops_after_(prompt.stops_after), gone_after_(prompt.gone_after), answer_(answer) {}
  bool Push(const SampledToken& token) override {
    answer_->tokens.push_back(token);
    return Count() != stops_after_;
  }
  void Finish(const absl::Status& status, const Completion&) override { answer_->status = status; }
  bool Gone() const override { return gone_after_ > 0 && Count() >= gone_after_; }

 private:
  int Count() const { return static_cast<int>(answer_->tokens.size()); }

  const int stops_after_, gone_after_;
  Answer* const answer_;
};

std::unique_ptr<Request> MakeRequest(const Prompt& prompt, const ModelLimits& limits,
                                     Answer* answer) {
  auto request = std::make_unique<Request>();
  for (int i = 0; i < prompt.length; ++i)
    request->prompt.push_back((i * i + 7 * prompt.number) % 57);
  if (prompt.has_picture) {
    request->image_at = 1;
    request->prompt.insert(request->prompt.begin() + 1, {61, 62, 63});
    const int size = limits.image_size;
    request->image = {size, size, std::vector<uint8_t>(static_cast<size_t>(size) * size * 3)};
    for (size_t i = 0; i < request->image.pixels.size(); ++i) {
      request->image.pixels[i] = static_cast<uint8_t>(i * (prompt.number + 3) % 251);
    }
  }
  request->sampling = prompt.sampling;
  request->max_tokens = prompt.answer;
  request->ignore_stop_ids = true;
  request->sink = std::make_unique<Collector>(prompt, answer);
  return request;
}

// Counts ServingEvents::moved_pictures.
class PictureWatch {
 public:
  void Look(const StepPlan& plan) {
    if (plan.kind != StepKind::kVision || plan.first_layer > 0) return;
    for (const StepRow& row : plan.rows) {
      const RgbImage*& last = last_[row.slot];
      if (!seen_.insert(row.image).second && last != nullptr && last != row.image) ++moved_;
      last = row.image;
    }
  }
  int64_t moved() const { return moved_; }

 private:
  // All requests are there from the start: no address comes twice.
  std::set<const RgbImage*> seen_;
  std::map<int, const RgbImage*> last_;  // by slot
  int64_t moved_ = 0;
};

void RunAll(Engine* engine, Scheduler* scheduler, PictureWatch* pictures) {
  std::deque<StepPlan> in_flight;
  const absl::Time now = absl::UnixEpoch();
  for (;;) {
    if (static_cast<int>(in_flight.size()) < engine->depth()) {
      StepPlan plan = scheduler->Next(now);
      if (plan.kind != StepKind::kIdle) {
        pictures->Look(plan);
        const absl::Status launched = engine->Launch(plan);
        INFO(launched);
        REQUIRE(launched.ok());
        in_flight.push_back(std::move(plan));
        continue;
      }
    }
    if (in_flight.empty()) return;
    const absl::StatusOr<StepOutput> output = engine->Finish();
    if (output.ok()) {
      scheduler->Done(in_flight.front(), *output, now);
    } else {
      scheduler->Failed(in_flight.front(), output.status(), now);
    }
    in_flight.pop_front();
  }
}

}  // namespace

std::vector<Prompt> MixedPrompts() {
  std::vector<Prompt> prompts;
  for (int i = 0; i < 18; ++i) {
    Prompt prompt;
    prompt.number = i;
    prompt.length = 1 + i * 5;
    prompt.has_picture = i % 4 == 1;
    prompt.answer = 5 + i;
    prompt.sampling.temperature = i % 3 == 0 ? 0.0f : 0.7f;
    prompt.sampling.top_p = i % 2 == 0 ? 0.9f : 1.0f;
    prompt.sampling.top_k = i % 5 == 0 ? 7 : 0;
    prompt.sampling.repetition_penalty = i % 6 == 2 ? 1.3f : 1.0f;
    prompt.sampling.seed = static_cast<uint64_t>(i);
    prompts.push_back(prompt);
  }
  return prompts;
}

std::vector<int32_t> Answer::Ids() const {
  std::vector<int32_t> ids;
  for (const SampledToken& token : tokens) ids.push_back(token.id);
  return ids;
}

std::vector<Answer> Serve(Engine* engine, const EngineOptions& options,
                          const std::vector<Prompt>& prompts, ServingEvents* events) {
  RequestQueue queue{RequestQueueOptions()};
  SchedulerOptions scheduling;
  scheduling.limits = engine->limits();
  scheduling.buckets = options.buckets;
  scheduling.max_prefill_tokens = options.max_prefill_tokens;
  scheduling.max_vision_rows = options.max_vision_rows;
  scheduling.depth = engine->depth();
  scheduling.kv_lookahead_tokens = 0;
  Scheduler scheduler(scheduling, &queue);
  std::vector<Answer> answers(prompts.size());
  for (size_t i = 0; i < prompts.size(); ++i) {
    auto request = MakeRequest(prompts[i], engine->limits(), &answers[i]);
    REQUIRE(queue.Push(request).ok());
  }
  PictureWatch pictures;
  RunAll(engine, &scheduler, &pictures);
  if (events != nullptr) *events = {scheduler.load().preemptions, pictures.moved()};
  return answers;
}

std::vector<std::vector<int32_t>> Ids(const std::vector<Answer>& answers) {
  std::vector<std::vector<int32_t>> ids;
  for (const Answer& answer : answers) {
    INFO(answer.status);
    CHECK(answer.status.ok());
    ids.push_back(answer.Ids());
  }
  return ids;
}

}  // namespace glimpse
