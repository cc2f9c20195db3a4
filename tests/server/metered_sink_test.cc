#include "server/metered_sink.h"

#include <catch2/catch.hpp>
#include <memory>
#include <utility>

#include "tests/schedule/recording_sink.h"
#include "tests/server/metrics_text.h"

namespace glimpse {
namespace {

class HandClock : public Clock {
 public:
  absl::Time Now() const override { return now; }
  absl::Time now = absl::UnixEpoch();
};

struct Fixture {
  Fixture() {
    record.arrived = clock.now;
    record.prompt_tokens = 16;
    record.image_tokens = 6;
  }
  std::unique_ptr<TokenSink> Sink(Metrics* into) {
    return std::make_unique<MeteredSink>(std::make_unique<RecordingSink>(&client), into, &clock,
                                         &record);
  }
  void Push(double seconds_later) {
    clock.now += absl::Seconds(seconds_later);
    sink->Push({65, 0, {}});
  }
  void Finish(int tokens, absl::Time first_token) {
    Completion completion;
    completion.completion_tokens = tokens;
    completion.times.first_token = first_token;
    sink->Finish(absl::OkStatus(), completion);
  }
  MetricsText Read() const { return MetricsText(metrics.Text()); }

  HandClock clock;
  Metrics metrics{"1", BucketTable()};
  RequestRecord record;
  TestClient client;
  std::unique_ptr<TokenSink> sink = Sink(&metrics);
};

TEST_CASE("tokens are timed as they come") {
  Fixture fixture;
  fixture.Push(0.5);
  CHECK(fixture.Read().Value("time_to_first_token_seconds_sum") == 0.5);
  CHECK(fixture.Read().Value("tokens_total", {{"kind", "prompt"}}) == 10);
  CHECK(fixture.Read().Value("tokens_total", {{"kind", "image"}}) == 6);
  fixture.Push(0.25);
  fixture.Push(0.125);
  CHECK(fixture.Read().Value("time_to_first_token_seconds_count") == 1);
  CHECK(fixture.Read().Value("inter_token_latency_seconds_count") == 2);
  CHECK(fixture.Read().Value("inter_token_latency_seconds_sum") == 0.375);
  CHECK(fixture.Read().Value("tokens_total", {{"kind", "completion"}}) == 3);
  CHECK(fixture.client.ids.size() == 3);
}

TEST_CASE("the stop token counts, and is no pause between tokens") {
  Fixture fixture;
  fixture.Push(0.5);
  fixture.Finish(2, fixture.clock.now);
  CHECK(fixture.Read().Value("tokens_total", {{"kind", "completion"}}) == 2);
  CHECK(fixture.Read().Value("inter_token_latency_seconds_count") == 0);
  CHECK(fixture.record.completion.completion_tokens == 2);
  CHECK(fixture.client.num_finishes == 1);
}

TEST_CASE("an answer that is a stop token alone has a first token") {
  Fixture fixture;
  fixture.clock.now += absl::Seconds(1);
  fixture.Finish(1, absl::UnixEpoch() + absl::Seconds(0.25));
  CHECK(fixture.Read().Value("time_to_first_token_seconds_sum") == 0.25);
  CHECK(fixture.Read().Value("tokens_total", {{"kind", "prompt"}}) == 10);
  CHECK(fixture.Read().Value("tokens_total", {{"kind", "completion"}}) == 1);
}

TEST_CASE("a request that never came to run computes no tokens") {
  Fixture fixture;
  fixture.Finish(0, absl::InfinitePast());
  CHECK(fixture.Read().Value("time_to_first_token_seconds_count") == 0);
  CHECK(fixture.Read().Value("tokens_total", {{"kind", "prompt"}}) == 0);
}

TEST_CASE("without metrics the record is filled all the same") {
  Fixture fixture;
  const std::unique_ptr<TokenSink> sink = fixture.Sink(nullptr);
  CHECK(sink->Push({65, 0, {}}));
  Completion completion;
  completion.completion_tokens = 1;
  sink->Finish(absl::OkStatus(), completion);
  CHECK(fixture.record.completion.completion_tokens == 1);
  CHECK(fixture.client.ids.size() == 1);
}

}  // namespace
}  // namespace glimpse
