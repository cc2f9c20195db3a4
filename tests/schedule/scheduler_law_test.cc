// Laws of Scheduler, RequestQueue and BlockPool together, under thousands of random operations on
// tiny pools, with one to three steps in flight, under every policy: whatever comes, goes, expires,
// fails or is preempted, each accepted request gets exactly one `Finish`, for a reason that holds,
// and no token that it would not have got alone.
//
// The naive model: every request is a `Case` with the answer that it has alone, and a list of the
// reasons why it may end early. It knows nothing of slots, blocks, chunks or slices.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "engine/schedule/scheduler.h"
#include "tests/fake_engine.h"
#include "tests/schedule/recording_sink.h"

namespace glimpse {
namespace {

struct Case {
  TestClient client;
  std::vector<int32_t> prompt;
  std::vector<int32_t> alone;
  int max_tokens = 0;
  absl::Time deadline;
  bool can_run = false;
  bool started = false;
  bool decodes = false;       // for sure: its last row sampled, and nobody was preempted since
  uint64_t num_planned = 0;   // samples in plans, in flight or done
  bool step_failed = false;   // it was in a step that was made to fail
  int steps_since_gone = -1;  // calls of Next after its client left
};

enum class Fault { kNone, kLaunch, kFinish };

struct Counts {
  std::map<absl::StatusCode, int> ends;
  int64_t preemptions = 0;
  int slices = 0;   // parts of a tower
  int company = 0;  // idle plans because more requests might come
};

class World {
 public:
  World(uint32_t seed, int depth, Counts* counts)
      : counts_(*counts),
        random_(seed),
        limits_(RandomLimits()),
        step_ms_(1 + Below(30)),
        queue_(RequestQueueOptions{.max_requests = 1 + Below(6), .max_tokens = 1 + Below(200)}),
        engine_(FakeEngineOptions{limits_, {}, {}, depth}),
        scheduler_(RandomOptions(depth), &queue_) {}

  void RandomOperation() {
    switch (Below(8)) {
      case 0:
      case 1:
        return Push();
      case 2:
        if (!cases_.empty()) Leave(cases_[Below(static_cast<int>(cases_.size()))]);
        return;
      case 3:
        now_ms_ += Below(4 * step_ms_);
        return;
      default:
        if (!MayPlan() || (!in_flight_.empty() && Below(2) == 0)) return FinishOldest();
        const int fault = Below(24);
        Plan(fault == 0 ? Fault::kLaunch : fault == 1 ? Fault::kFinish : Fault::kNone);
    }
  }

  // Steps without faults until nothing is left, and looks at the end of it all.
  void Drain() {
    for (int steps = 0;; ++steps) {
      REQUIRE(steps < 10000);
      if (MayPlan() && Plan(Fault::kNone)) continue;
      if (!in_flight_.empty()) {
        FinishOldest();
      } else if (!scheduler_.empty()) {  // waits for company
        now_ms_ = absl::ToUnixMillis(scheduler_.NextLook());
      } else {
        break;
      }
    }
    for (const Case& one : cases_) {
      REQUIRE(one.client.num_finishes == 1);
      REQUIRE(one.client.calls_after_finish == 0);
      CheckEnd(one);
      ++counts_.ends[one.client.status.code()];
    }
    counts_.preemptions += scheduler_.load().preemptions;
    REQUIRE(scheduler_.empty());
    REQUIRE(scheduler_.load().kv_blocks_live == 0);
    REQUIRE(scheduler_.blocks().num_free() == limits_.num_blocks);
    REQUIRE(queue_.depth().requests == 0);
    REQUIRE(queue_.depth().tokens == 0);
    REQUIRE(queue_.depth().bytes == 0);
  }

 private:
  struct Step {
    StepPlan plan;
    absl::Status launched;
    Fault fault;
  };

  int Below(int limit) { return static_cast<int>(random_() % static_cast<uint32_t>(limit)); }

  ModelLimits RandomLimits() {
    ModelLimits limits;
    limits.vocabulary_size = 40;
    limits.stop_ids = {1, 2};
    limits.max_context = 10 + Below(30);
    limits.image_rows = 3 + Below(6);
    limits.vision_layers = 1 + Below(5);
    limits.max_batch_size = 1 + Below(5);
    limits.block_size = 1 + Below(5);
    limits.num_blocks = 4 + Below(Below(2) == 0 ? 20 : 8);
    return limits;
  }

  SchedulerOptions RandomOptions(int depth) {
    SchedulerOptions options{limits_, BucketTable({2, 4}, {4, 8}), 1 + Below(12), 1 + Below(3),
                             depth};
    options.policy = static_cast<BatchPolicyKind>(Below(4));
    options.kv_lookahead_tokens = Below(2) == 0 ? 0 : Below(6);
    return options;
  }

  std::unique_ptr<Request> RandomRequest(TestClient* client) {
    std::vector<int32_t> prompt(1 + Below(Below(4) == 0 ? 20 : 5));
    for (int32_t& id : prompt) id = Below(limits_.vocabulary_size);
    auto request = MakeRequest(client, prompt, 1 + Below(12));
    if (Below(3) == 0) {
      AddImage(request.get(), Below(static_cast<int>(prompt.size())),
               static_cast<uint8_t>(Below(256)));
    }
    request->ignore_stop_ids = Below(4) == 0;
    request->sampling.temperature = Below(2) == 0 ? 0.0f : 1.0f;
    request->sampling.seed = random_();
    request->sampling.repetition_penalty = Below(3) == 0 ? 1.1f : 1.0f;
    if (Below(3) == 0) request->deadline = AtMs(now_ms_ + Below(40 * step_ms_));
    return request;
  }

  void Push() {
    Case& one = cases_.emplace_back();
    auto request = RandomRequest(&one.client);
    if (Below(6) == 0) one.client.wants_tokens = 1 + Below(4);
    one.alone = AnswerAlone(*request, limits_);
    one.max_tokens = request->max_tokens;
    one.deadline = request->deadline;
    one.can_run = CheckCanRun(*request, limits_).ok();
    one.prompt = request->prompt;
    const uint64_t seed = request->sampling.seed;
    const absl::Status pushed = queue_.Push(request);
    REQUIRE(pushed.ok() == (request == nullptr));
    if (!pushed.ok()) {
      REQUIRE(pushed.code() == absl::StatusCode::kResourceExhausted);
      REQUIRE(one.client.num_finishes == 0);
      cases_.pop_back();
      return;
    }
    REQUIRE(by_seed_.emplace(seed, &one).second);
  }

  void Leave(Case& one) {
    if (one.client.gone) return;
    one.client.gone = true;
    queue_.Wake();
    one.steps_since_gone = 0;
  }

  // As ServingLoop does it: nothing is planned behind a step that did not start.
  bool MayPlan() const {
    if (static_cast<int>(in_flight_.size()) == engine_.depth()) return false;
    return in_flight_.empty() || in_flight_.back().launched.ok();
  }

  // False if there was nothing to plan.
  bool Plan(Fault fault) {
    const absl::Time now = AtMs(now_ms_);
    const int64_t preemptions = scheduler_.load().preemptions;
    StepPlan plan = scheduler_.Next(now);
    if (scheduler_.load().preemptions > preemptions) {
      for (Case& one : cases_) one.decodes = false;
    }
    CheckAfterNext(now);
    if (plan.kind == StepKind::kIdle) {
      CheckIdle(now);
      return false;
    }
    INFO(plan.DebugString());
    REQUIRE(CheckPlan(plan, limits_) == absl::OkStatus());
    counts_.slices += plan.first_layer > 0;
    if (last_ != StepKind::kDecode && AnyCanDecode()) REQUIRE(plan.kind == StepKind::kDecode);
    CheckProgress(plan);
    const absl::Status injected = absl::AbortedError("injected");
    if (fault == Fault::kLaunch) engine_.FailLaunch(engine_.num_steps(), injected);
    if (fault == Fault::kFinish) engine_.FailFinish(engine_.num_steps(), injected);
    const absl::Status launched = engine_.Launch(plan);
    REQUIRE(launched == (fault == Fault::kLaunch ? injected : absl::OkStatus()));
    last_ = plan.kind;
    in_flight_.push_back({std::move(plan), launched, fault});
    return true;
  }

  void FinishOldest() {
    const Step step = std::move(in_flight_.front());
    in_flight_.pop_front();
    now_ms_ += Below(step_ms_ + 1);
    const absl::StatusOr<StepOutput> output =
        step.fault == Fault::kLaunch ? step.launched : engine_.Finish();
    INFO(step.plan.DebugString() << " " << output.status());
    REQUIRE(output.ok() == (step.fault == Fault::kNone));
    if (output.ok()) {
      scheduler_.Done(step.plan, *output, AtMs(now_ms_));
      return;
    }
    for (int i = 0; i < step.plan.num_real_rows; ++i) {
      Case& one = *by_sequence_.at(step.plan.rows[i].sequence);
      if (!one.client.finished()) one.step_failed = true;
    }
    scheduler_.Failed(step.plan, output.status(), AtMs(now_ms_));
  }

  int64_t NumPreempted() const { return scheduler_.load().waiting - queue_.depth().requests; }

  // Whatever runs has all that it may get in flight; with nothing in flight nothing is left, but
  // what waits for company.
  void CheckIdle(absl::Time now) {
    int unplanned = 0;
    for (const Case& one : cases_) {
      if (one.client.finished() || !one.started) continue;
      unplanned += one.num_planned != static_cast<uint64_t>(one.max_tokens);
    }
    REQUIRE(unplanned <= NumPreempted());
    if (!in_flight_.empty()) return;
    REQUIRE(scheduler_.load().waiting == 0);
    if (scheduler_.empty()) return;
    ++counts_.company;
    REQUIRE(scheduler_.NextLook() > now);
    REQUIRE(scheduler_.NextLook() <= now + absl::Milliseconds(50));
    REQUIRE(unplanned == 0);
  }

  bool AnyCanDecode() const {
    return std::any_of(cases_.begin(), cases_.end(), [](const Case& one) {
      return !one.client.finished() && one.decodes &&
             one.num_planned < static_cast<uint64_t>(one.max_tokens);
    });
  }

  // Nothing that is expired is left, what is gone is left no longer than a round of the queue, and
  // every request that is not finished is either queued or running.
  void CheckAfterNext(absl::Time now) {
    int unfinished = 0;
    for (Case& one : cases_) {
      if (one.client.gone) ++one.steps_since_gone;
      if (one.client.finished()) continue;
      ++unfinished;
      REQUIRE(one.deadline > now);
      REQUIRE(one.steps_since_gone < 2);
    }
    const SchedulerLoad load = scheduler_.load();
    REQUIRE(unfinished == load.running + load.waiting);
    REQUIRE(load.running <= limits_.max_batch_size);
    REQUIRE(load.kv_blocks_live + load.kv_blocks_free == limits_.num_blocks);
  }

  // Each row begins where the last plan of its sequence ended, and the first of all says `starts`,
  // with all ids that the request has by then.
  void CheckProgress(const StepPlan& plan) {
    for (int i = 0; i < plan.num_real_rows; ++i) {
      const StepRow& row = plan.rows[i];
      REQUIRE(row.starts == (by_sequence_.count(row.sequence) == 0));
      if (row.starts) {
        Start(row);
      }
      Case& one = *by_sequence_.at(row.sequence);
      REQUIRE_FALSE(one.client.finished());
      REQUIRE(row.sample_index == one.num_planned);
      one.num_planned += row.samples;
      one.decodes = row.samples;
      REQUIRE(one.num_planned <= static_cast<uint64_t>(one.max_tokens));
      REQUIRE(row.kv_length == fed_.at(row.sequence));
      fed_[row.sequence] += static_cast<int>(row.tokens.size());
    }
  }

  void Start(const StepRow& row) {
    Case& one = *by_seed_.at(row.sampling.seed);
    std::vector<int32_t> known = one.prompt;
    known.insert(known.end(), one.client.ids.begin(), one.client.ids.end());
    REQUIRE(*row.prompt == known);
    REQUIRE(row.kv_length == 0);
    by_sequence_[row.sequence] = &one;
    fed_[row.sequence] = 0;
    one.started = true;
    one.num_planned = one.client.ids.size();
  }

  void CheckEnd(const Case& one) const {
    const std::vector<int32_t>& ids = one.client.ids;
    REQUIRE(ids.size() <= one.alone.size());
    REQUIRE(std::equal(ids.begin(), ids.end(), one.alone.begin()));
    switch (one.client.status.code()) {
      case absl::StatusCode::kOk:
        REQUIRE_FALSE(one.step_failed);
        return CheckCompletion(one);
      case absl::StatusCode::kCancelled:
        REQUIRE(one.client.gone);
        return;
      case absl::StatusCode::kDeadlineExceeded:
        REQUIRE(one.client.completion.times.finished >= one.deadline);
        return;
      case absl::StatusCode::kAborted:
        REQUIRE(one.step_failed);
        return;
      case absl::StatusCode::kInvalidArgument:
        REQUIRE_FALSE(one.can_run);
        return;
      default:
        FAIL("no request ends like this: " << one.client.status);
    }
  }

  static void CheckCompletion(const Case& one) {
    const Completion& completion = one.client.completion;
    const int pushed = static_cast<int>(one.client.ids.size());
    const bool stop_id = completion.reason == FinishReason::kStop;
    REQUIRE(completion.completion_tokens == pushed + (stop_id ? 1 : 0));
    if (completion.reason == FinishReason::kStopString) {
      REQUIRE(pushed == one.client.wants_tokens);
      return;
    }
    REQUIRE(one.client.ids == one.alone);
    REQUIRE((pushed < one.max_tokens) == stop_id);
  }

  Counts& counts_;
  std::mt19937 random_;
  const ModelLimits limits_;
  const int step_ms_;  // a step's longest
  std::deque<Case> cases_;
  RequestQueue queue_;
  FakeEngine engine_;
  Scheduler scheduler_;
  std::map<uint64_t, Case*> by_seed_;
  std::map<int64_t, Case*> by_sequence_;
  std::map<int64_t, int> fed_;
  std::deque<Step> in_flight_;
  StepKind last_ = StepKind::kIdle;
  int64_t now_ms_ = 0;
};

TEST_CASE("Whatever happens, each request gets one end and only tokens of its own answer") {
  const int depth = GENERATE(1, 2, 3);
  Counts counts;
  for (uint32_t seed = 0; seed < 1000; ++seed) {
    INFO("depth " << depth << " seed " << seed);
    World world(seed, depth, &counts);
    for (int i = 0; i < 400; ++i) world.RandomOperation();
    world.Drain();
  }
  // The run was worth something: every kind of end came up often, and whatever may come between.
  CHECK(counts.preemptions > 500);
  CHECK(counts.slices > 100);
  CHECK(counts.company > 100);
  std::map<absl::StatusCode, int>& ends = counts.ends;
  CHECK(ends[absl::StatusCode::kOk] > 1000);
  CHECK(ends[absl::StatusCode::kCancelled] > 100);
  CHECK(ends[absl::StatusCode::kDeadlineExceeded] > 100);
  CHECK(ends[absl::StatusCode::kAborted] > 100);
  CHECK(ends[absl::StatusCode::kInvalidArgument] > 100);
}

}  // namespace
}  // namespace glimpse
