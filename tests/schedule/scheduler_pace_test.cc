// The policy against a device with known times, in virtual time: what the clients of a busy server
// see. The times are those of a large model on a fast card.
#include <algorithm>
#include <catch2/catch.hpp>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "engine/schedule/scheduler.h"
#include "tests/schedule/recording_sink.h"

namespace glimpse {
namespace {

absl::Duration StepTime(const StepPlan& plan) {
  switch (plan.kind) {
    case StepKind::kVision:
      return absl::Milliseconds(2) * plan.bucket * (plan.end_layer - plan.first_layer);
    case StepKind::kPrefill:
      return absl::Milliseconds(6) + absl::Microseconds(28) * plan.bucket;
    default:
      return absl::Milliseconds(7);
  }
}

ModelLimits Limits() {
  ModelLimits limits;
  limits.vocabulary_size = 100;
  limits.max_context = 8192;
  limits.image_rows = 1602;
  limits.vision_layers = 63;
  limits.max_batch_size = 64;
  limits.block_size = 16;
  limits.num_blocks = 16384;
  return limits;
}

struct Client {
  absl::Time asked;
  absl::Time deadline;
  std::vector<absl::Time> tokens;
  bool done = false;
  absl::StatusCode code;
  absl::Time ended;
};

class TimedSink : public TokenSink {
 public:
  TimedSink(Client* client, const absl::Time* now) : client_(client), now_(now) {}
  bool Push(const SampledToken&) override {
    client_->tokens.push_back(*now_);
    return true;
  }
  void Finish(const absl::Status& status, const Completion& completion) override {
    client_->done = true;
    client_->code = status.code();
    client_->ended = completion.times.finished;
  }
  bool Gone() const override { return false; }

 private:
  Client* client_;
  const absl::Time* now_;
};

// A server whose device has two steps in flight, each of which begins when the one before ends.
class Server {
 public:
  explicit Server(BatchPolicyKind policy) : scheduler_(Options(policy), &queue_) {}

  Client* Ask(int prompt, int answer, bool picture = false,
              absl::Time deadline = absl::InfiniteFuture()) {
    Client& client = clients_.emplace_back();
    client.asked = now_;
    client.deadline = deadline;
    auto request = std::make_unique<Request>();
    request->prompt.assign(prompt, 7);
    request->max_tokens = answer;
    request->deadline = deadline;
    request->sink = std::make_unique<TimedSink>(&client, &now_);
    if (picture) AddImage(request.get(), 0, 1);
    REQUIRE(queue_.Push(request).ok());
    return &client;
  }

  void RunUntil(absl::Time end) {
    while (now_ < end) {
      if (in_flight_.size() < 2 && Launch()) continue;
      if (in_flight_.empty()) {
        now_ = std::min(end, scheduler_.NextLook());
        continue;
      }
      const auto [plan, ends] = std::move(in_flight_.front());
      in_flight_.pop_front();
      now_ = std::max(now_, ends);
      scheduler_.Done(plan, StepOutput{std::vector<SampledToken>(plan.num_real_rows)}, now_);
    }
  }
  void RunFor(absl::Duration duration) { RunUntil(now_ + duration); }

  absl::Time now() const { return now_; }
  const Scheduler& scheduler() const { return scheduler_; }

 private:
  static SchedulerOptions Options(BatchPolicyKind policy) {
    SchedulerOptions options{Limits(), BucketTable(), 2048, 4, /*depth=*/2};
    options.policy = policy;
    return options;
  }

  bool Launch() {
    StepPlan plan = scheduler_.Next(now_);
    if (plan.kind == StepKind::kIdle) return false;
    free_ = std::max(free_, now_) + StepTime(plan);
    in_flight_.emplace_back(std::move(plan), free_);
    return true;
  }

  absl::Time now_ = AtMs(0);
  absl::Time free_ = AtMs(0);  // the device, of all that is in flight
  std::deque<Client> clients_;
  RequestQueue queue_{RequestQueueOptions{.max_requests = 100000, .max_tokens = 1 << 30}};
  Scheduler scheduler_;
  std::deque<std::pair<StepPlan, absl::Time>> in_flight_;
};

// Between two tokens of a client, after `from`, in ms; ascending.
std::vector<double> Gaps(const std::vector<Client*>& clients, absl::Time from) {
  std::vector<double> gaps;
  for (const Client* client : clients) {
    for (size_t i = 1; i < client->tokens.size(); ++i) {
      if (client->tokens[i - 1] < from) continue;
      gaps.push_back(absl::ToDoubleMilliseconds(client->tokens[i] - client->tokens[i - 1]));
    }
  }
  std::sort(gaps.begin(), gaps.end());
  return gaps;
}

TEST_CASE("Sixteen streams hardly notice one new picture a second, which has its token soon") {
  Server server(BatchPolicyKind::kAuto);
  std::vector<Client*> streams, pictures;
  for (int i = 0; i < 16; ++i) streams.push_back(server.Ask(512, 4000));
  server.RunFor(absl::Seconds(1));
  const absl::Time begin = server.now();
  for (int i = 0; i < 20; ++i) {
    pictures.push_back(server.Ask(30, 100, /*picture=*/true));
    server.RunFor(absl::Seconds(1));
  }
  const std::vector<double> gaps = Gaps(streams, begin);
  REQUIRE(gaps.size() > 16 * 1000);
  INFO("gaps: median " << gaps[gaps.size() / 2] << ", p99 " << gaps[gaps.size() * 99 / 100]
                       << ", most " << gaps.back());
  CHECK(gaps[gaps.size() / 2] == Approx(7));
  CHECK(gaps[gaps.size() * 99 / 100] <= 25);
  for (size_t i = 0; i < pictures.size(); ++i) {
    REQUIRE_FALSE(pictures[i]->tokens.empty());
    const absl::Duration first = pictures[i]->tokens[0] - pictures[i]->asked;
    INFO("picture " << i << ": " << first);
    CHECK(first <= absl::Milliseconds(400));
  }
}

TEST_CASE("So it is where the streams come and go, each with its prompt") {
  Server server(BatchPolicyKind::kAuto);
  std::vector<Client*> running, streams, pictures;
  for (int i = 0; i < 16; ++i) {
    running.push_back(server.Ask(512, 20 + 16 * i));
    server.RunFor(absl::Milliseconds(50));
  }
  const absl::Time begin = server.now();
  while (pictures.size() < 20) {
    for (Client*& client : running) {
      if (!client->done) continue;
      streams.push_back(client);
      client = server.Ask(512, 256);
    }
    if (server.now() - begin >= absl::Seconds(1) * (pictures.size() + 1)) {
      pictures.push_back(server.Ask(30, 64, /*picture=*/true));
    }
    server.RunFor(absl::Milliseconds(1));
  }
  server.RunFor(absl::Seconds(1));
  const std::vector<double> gaps = Gaps(streams, begin);
  REQUIRE(gaps.size() > 5000);
  INFO("gaps: median " << gaps[gaps.size() / 2] << ", p99 " << gaps[gaps.size() * 99 / 100]
                       << ", most " << gaps.back());
  CHECK(gaps[gaps.size() * 99 / 100] <= 25);
  absl::Duration longest, longest_text;
  for (const Client* client : pictures) {
    longest = std::max(longest, client->tokens.at(0) - client->asked);
  }
  for (const Client* client : streams) {
    longest_text = std::max(longest_text, client->tokens.at(0) - client->asked);
  }
  INFO("first tokens: pictures " << longest << ", text " << longest_text);
  CHECK(longest <= absl::Milliseconds(400));
}

TEST_CASE("A picture on an idle server has its token as fast as the device goes") {
  Server server(BatchPolicyKind::kAuto);
  const Client* client = server.Ask(30, 10, /*picture=*/true);
  server.RunFor(absl::Seconds(1));
  // 126 ms of vision and a prompt of 1635 tokens.
  CHECK(client->tokens.at(0) - client->asked <= absl::Milliseconds(180));
}

TEST_CASE("Under load auto fills the whole batch, and all that wait get their turn") {
  Server server(BatchPolicyKind::kAuto);
  std::vector<Client*> clients;
  for (int i = 0; i < 200; ++i) clients.push_back(server.Ask(64, 50));
  int most = 0;
  for (int i = 0; i < 600; ++i) {
    server.RunFor(absl::Milliseconds(10));
    most = std::max(most, server.scheduler().num_running());
  }
  CHECK(most == 64);
  for (const Client* client : clients) REQUIRE(client->done);
}

TEST_CASE("Whoever expires behind a full batch hears of it within 20 ms, whatever runs") {
  const bool pictures = GENERATE(false, true);
  Server server(BatchPolicyKind::kOffline);  // the longest steps
  std::vector<Client*> late;
  for (int i = 0; i < 64; ++i) server.Ask(512, 6000, pictures && i % 4 == 0);
  server.RunFor(absl::Seconds(5));
  for (int i = 0; i < 10000; ++i) {
    if (i % 100 == 0) server.RunFor(absl::Milliseconds(10));
    const absl::Duration left = absl::Milliseconds(1 + i * 7919 % 500);
    late.push_back(server.Ask(64, 10, pictures && i % 3 == 0, server.now() + left));
  }
  server.RunFor(absl::Seconds(2));
  absl::Duration latest;
  for (const Client* client : late) {
    REQUIRE(client->done);
    REQUIRE(client->code == absl::StatusCode::kDeadlineExceeded);
    REQUIRE(client->tokens.empty());
    latest = std::max(latest, client->ended - client->deadline);
  }
  INFO("the latest " << latest << " after its deadline");
  CHECK(latest <= absl::Milliseconds(20));
}

TEST_CASE("Realtime streams are held up less by a picture than balanced ones") {
  const auto worst = [](BatchPolicyKind policy) {
    Server server(policy);
    const std::vector<Client*> streams = {server.Ask(64, 1000)};
    server.Ask(30, 2, /*picture=*/true);  // what a layer takes is not known before
    server.RunFor(absl::Seconds(1));
    const absl::Time begin = server.now();
    for (int i = 0; i < 3; ++i) {
      server.Ask(30, 2, /*picture=*/true);
      server.RunFor(absl::Seconds(1));
    }
    return Gaps(streams, begin).back();
  };
  CHECK(worst(BatchPolicyKind::kRealtime) <= 7 + 8.1);
  CHECK(worst(BatchPolicyKind::kBalanced) <= 7 + 15.1);
  CHECK(worst(BatchPolicyKind::kOffline) > 50);
}

}  // namespace
}  // namespace glimpse
