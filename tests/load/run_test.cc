// Whole load tests against the server over a fake engine: what is counted has to add up.
#include "bench/load/run.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "bench/load/report.h"
#include "tests/server/test_server.h"

namespace glimpse::bench {
namespace {

LoadOptions Options(TestServer& server, int requests) {
  v1::Limits* limits = server.for_service.description.mutable_limits();  // no call reads it yet
  limits->set_max_context_tokens(Limits().max_context);
  limits->set_image_tokens(Limits().image_rows);
  LoadOptions options;
  options.server = server.server->address();
  options.concurrency = 8;
  options.duration = absl::InfiniteDuration();
  options.requests = requests;
  options.drain = absl::Seconds(30);
  options.pause = absl::Milliseconds(1);
  options.deadline = absl::InfiniteDuration();
  options.slow_read = absl::InfiniteDuration();
  options.mix.prompt_tokens = Lengths(40);
  options.mix.answer_tokens = Lengths(12);
  options.picture_side = 8;
  options.threads = 2;
  options.connections = 2;
  return options;
}

RunResult Run(const LoadOptions& options) {
  const absl::StatusOr<Target> target = Target::Probe(options);
  INFO(target.status().ToString());
  REQUIRE(target.ok());
  return RunLoad(options, *target);
}

int64_t Ends(const RunResult& result) {
  int64_t count = 0;
  for (const auto& [end, times] : result.tally.ends()) count += times.count();
  return count;
}

TEST_CASE("a closed loop makes all of its calls, and gets all of their tokens") {
  TestServer server;
  const LoadOptions options = Options(server, 50);
  const RunResult result = Run(options);
  CHECK(result.end.completed == 50);
  CHECK(result.end.good == 50);
  CHECK(result.end.tokens == 50 * 12);
  CHECK(result.end.running == 0);
  CHECK(result.end.wrong == 0);
  CHECK(result.tally.ends().at({"OK", "LENGTH"}).count() == 50);
  CHECK(result.tally.text().first_token.count() == 50);
  CHECK(result.tally.text().total.count() == 50);
}

TEST_CASE("a run ends though some of its threads have no call to make") {
  TestServer server;
  LoadOptions options = Options(server, 20);
  options.concurrency = 2;
  options.threads = options.connections = 4;
  CHECK(Run(options).end.completed == 20);
}

TEST_CASE("prompts have the length that was asked for") {
  TestServer server;
  const absl::StatusOr<Target> target = Target::Probe(Options(server, 1));
  REQUIRE(target.ok());
  CallPlan plan;
  plan.prompt_tokens = 40;
  plan.answer_tokens = 12;
  Call call(server, target->MakeRequest(plan));
  CHECK(call.Finish().ok());
  CHECK(call.events.at(0).started().prompt_tokens() == 40);
  CHECK(call.events.back().finished().usage().completion_tokens() == 12);
}

TEST_CASE("made pictures are pictures to the server") {
  TestServer server;
  LoadOptions options = Options(server, 20);
  options.mix.picture_share = 1;
  const RunResult result = Run(options);
  CHECK(result.end.completed == 20);
  CHECK(result.tally.picture().total.count() == 20);
  CHECK(result.tally.text().total.count() == 0);
}

TEST_CASE("an open loop's calls end all, some of them refused by a full queue") {
  ServerOptions full;
  full.queue.max_requests = 2;
  TestServer server(full);
  LoadOptions options = Options(server, 200);
  options.rate = 100000;
  const RunResult result = Run(options);
  CHECK(Ends(result) == 200);
  CHECK(result.end.completed > 0);
  CHECK(result.end.completed + result.end.failed == 200);
  CHECK(result.tally.ends().at({"RESOURCE_EXHAUSTED", "QUEUE_FULL"}).count() == result.end.failed);
  CHECK(result.tally.lateness().count() >= 200);
}

TEST_CASE("cancelled calls are counted as this program's, whenever it was") {
  TestServer server;
  LoadOptions options = Options(server, 200);
  options.mix.cancel_share = 0.5;
  const RunResult result = Run(options);
  CHECK(Ends(result) == 200);
  CHECK(result.end.cancelled > 0);
  CHECK(result.end.completed + result.end.cancelled == 200);
  CHECK(server.admission.WaitUntilEmpty(absl::Seconds(60)));
}

TEST_CASE("a run ends though its slow readers never read") {
  TestServer server;
  LoadOptions options = Options(server, 40);
  options.duration = absl::Seconds(30);  // of which all but moments are left over
  options.mix.slow_share = 0.1;
  const RunResult result = Run(options);
  CHECK(Ends(result) == 40);
  CHECK(result.end.cancelled > 0);
  CHECK(result.end.completed + result.end.cancelled == 40);
  CHECK(result.tally.text().total.count() == result.end.completed);
}

TEST_CASE("the report is JSON with the counts") {
  TestServer server;
  LoadOptions options = Options(server, 10);
  options.label = "ten";
  const absl::StatusOr<Target> target = Target::Probe(options);
  REQUIRE(target.ok());
  const RunResult result = RunLoad(options, *target);
  const auto json = nlohmann::json::parse(ReportJson(options, *target, result));
  CHECK(json["label"] == "ten");
  CHECK(json["text"]["total_ms"]["count"] == 10);
  CHECK(json["text"]["total_ms"]["curve"].size() == json["curve_shares"].size());
  CHECK(json["ends_ms"][0]["code"] == "OK");
  CHECK(json["seconds"].back()["completed"] == 10);
  CHECK(ReportText(options, *target, result).find("OK LENGTH") != std::string::npos);
}

TEST_CASE("the decode rate is of the calls that decode at a time, in plain closed loops only") {
  TestServer server;
  LoadOptions options = Options(server, 20);
  server.for_service.description.mutable_limits()->set_max_batch_size(4);
  const absl::StatusOr<Target> target = Target::Probe(options);
  REQUIRE(target.ok());
  const RunResult result = RunLoad(options, *target);
  const double gap_ms = absl::ToDoubleMilliseconds(result.tally.text().inter_token.Quantile(0.5));
  const auto decode_rate = [&](const LoadOptions& load) {
    const auto json = nlohmann::json::parse(ReportJson(load, *target, result));
    return json["rates"].value("decode_tokens_per_s", 0.0);
  };
  CHECK(decode_rate(options) == Approx(4 / gap_ms * 1000));
  options.concurrency = 3;
  CHECK(decode_rate(options) == Approx(3 / gap_ms * 1000));

  LoadOptions others = options;
  others.rate = 5;
  CHECK(decode_rate(others) == 0);
  for (double CallMix::*share :
       {&CallMix::picture_share, &CallMix::cancel_share, &CallMix::slow_share}) {
    others = options;
    others.mix.*share = 0.5;
    CHECK(decode_rate(others) == 0);
  }
}

TEST_CASE("what the server can't hold is said before the test") {
  TestServer server;
  LoadOptions options = Options(server, 1);
  options.mix.answer_tokens = Lengths(5000);
  const absl::Status status = Target::Probe(options).status();
  CHECK(absl::IsInvalidArgument(status));
  CHECK(status.message().find("4096") != std::string::npos);
}

}  // namespace
}  // namespace glimpse::bench
