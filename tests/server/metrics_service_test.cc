// What calls and steps leave in /metrics, on a clock that only steps move.
#include <httplib.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <memory>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "server/admin_http.h"
#include "server/metrics.h"
#include "tests/server/metrics_text.h"
#include "tests/server/red_png.h"
#include "tests/server/test_server.h"

namespace glimpse {
namespace {

// Parts of a second that floating point adds up exactly.
constexpr double kVisionSlice = 1.0 / 16, kPrefill = 1.0 / 4, kDecode = 1.0 / 128;

double StepSeconds(StepKind kind) {
  if (kind == StepKind::kVision) return kVisionSlice;
  return kind == StepKind::kPrefill ? kPrefill : kDecode;
}

// A server whose steps take the times above, one after the other, and its admin port.
class TimedServer {
 public:
  explicit TimedServer(ServerOptions options = {}) : server(Timed(std::move(options))) {
    AdminHttpOptions admin_options;
    admin_options.listen = "127.0.0.1:0";
    admin_options.metrics_text = [this] { return server.metrics.Text(); };
    auto started = AdminHttp::Start(std::move(admin_options));
    REQUIRE(started.ok());
    admin_ = *std::move(started);
  }

  MetricsText Scrape() const {
    const httplib::Result result =
        httplib::Client(absl::StrCat("http://", admin_->address())).Get("/metrics");
    REQUIRE(result);
    REQUIRE(result->status == 200);
    return MetricsText(result->body);
  }
  // As soon as the sample has this value.
  MetricsText WaitFor(double value, const std::string& name,
                      const std::map<std::string, std::string>& labels = {}) const {
    const absl::Time deadline = absl::Now() + absl::FromChrono(kCallTimeout);
    while (absl::Now() < deadline) {
      MetricsText text = Scrape();
      if (text.Value(name, labels) == value) return text;
      std::this_thread::yield();
    }
    FAIL(name << " never became " << value);
    return Scrape();
  }
  MetricsText WaitForEnds(int count, const std::string& code, const std::string& reason) const {
    return WaitFor(count, "requests_total", {{"code", code}, {"reason", reason}});
  }

  std::atomic<int> slices = 0;
  TestServer server;

 private:
  ServerOptions Timed(ServerOptions options) {
    options.clock_stands = true;
    options.depth = 1;
    options.on_launch = [this](const StepPlan& plan) {
      slices += plan.kind == StepKind::kVision;
      server.clock.Advance(absl::Seconds(StepSeconds(plan.kind)));
    };
    return options;
  }

  std::unique_ptr<AdminHttp> admin_;
};

TEST_CASE("an answer's times and tokens are what they were") {
  TimedServer timed;
  Call call(timed.server, Question());  // answered by the newline, "Hi!" and a stop token
  REQUIRE(call.Finish().ok());
  const MetricsText text = timed.WaitForEnds(1, "OK", "STOP");

  CHECK(text.Value("time_to_first_token_seconds_count") == 1);
  CHECK(text.Value("time_to_first_token_seconds_sum") == kPrefill);
  CHECK(text.Value("time_to_first_token_seconds_bucket", {{"le", "0.2"}}) == 0);
  CHECK(text.Value("time_to_first_token_seconds_bucket", {{"le", "0.3"}}) == 1);
  CHECK(text.Value("prefill_seconds_sum") == kPrefill);
  CHECK(text.Value("inter_token_latency_seconds_count") == 3);
  CHECK(text.Value("inter_token_latency_seconds_sum") == 3 * kDecode);
  CHECK(text.Value("inter_token_latency_seconds_bucket", {{"le", "0.007"}}) == 0);
  CHECK(text.Value("inter_token_latency_seconds_bucket", {{"le", "0.008"}}) == 3);
  CHECK(text.Value("decode_step_seconds_count", {{"rows", "4"}}) == 4);
  CHECK(text.Value("decode_step_seconds_sum", {{"rows", "4"}}) == 4 * kDecode);
  CHECK(text.Value("decode_step_seconds_bucket", {{"rows", "4"}, {"le", "0.007"}}) == 0);
  CHECK(text.Value("decode_step_seconds_bucket", {{"rows", "4"}, {"le", "0.008"}}) == 4);
  CHECK(text.Value("request_queue_seconds_count") == 1);
  CHECK(text.Value("request_queue_seconds_sum") == 0);
  CHECK(text.Value("request_duration_seconds_sum") == kPrefill + 4 * kDecode);
  CHECK(text.Value("vision_encode_seconds_count") == 0);
  CHECK(text.Value("image_bytes_count") == 0);

  CHECK(text.Value("tokens_total", {{"kind", "prompt"}}) == 10);
  CHECK(text.Value("tokens_total", {{"kind", "image"}}) == 0);
  CHECK(text.Value("tokens_total", {{"kind", "completion"}}) == 5);
}

TEST_CASE("a picture's times and sizes are what they were") {
  TimedServer timed;
  v1::ChatRequest request = Question();
  request.mutable_messages(0)->add_parts()->set_image(RedPng());
  Call call(timed.server, request);
  REQUIRE(call.Finish().ok());
  const MetricsText text = timed.WaitForEnds(1, "OK", "STOP");
  const double vision = timed.slices * kVisionSlice;
  CHECK(timed.slices > 0);

  CHECK(text.Value("vision_encode_seconds_count") == 1);
  CHECK(text.Value("vision_encode_seconds_sum") == vision);
  CHECK(text.Value("prefill_seconds_sum") == kPrefill);
  CHECK(text.Value("time_to_first_token_seconds_sum") == vision + kPrefill);
  CHECK(text.Value("request_duration_seconds_sum") == vision + kPrefill + 4 * kDecode);
  CHECK(text.Value("tokens_total", {{"kind", "prompt"}}) == 10);
  CHECK(text.Value("tokens_total", {{"kind", "image"}}) == 6);
  CHECK(text.Value("image_bytes_sum") == RedPng().size());
  CHECK(text.Value("image_pixels_sum") == 2 * 2);
  CHECK(text.Value("image_decode_seconds_count") == 1);
  CHECK(text.Value("image_decode_seconds_sum") == 0);  // no step, so no time has passed
  CHECK(text.Value("image_resize_seconds_count") == 1);
}

TEST_CASE("waiting, running and padding are what they are now") {
  TimedServer timed;
  TestServer& server = timed.server;
  server.gate.Allow(4);  // the prompt's step and three tokens'
  Call running(server, Endless());
  server.gate.WaitUntilHeld();
  Call waiting(server, Question());
  REQUIRE(waiting.Read());  // `started`: it is in the queue
  server.gate.Allow(1);
  server.gate.WaitUntilHeld();

  const MetricsText text = timed.Scrape();
  CHECK(text.Value("requests_running") == 1);
  CHECK(text.Value("requests_waiting") == 1);
  CHECK(text.Value("batch_rows") == 1);
  CHECK(text.Value("batch_padding_ratio") == 0.75);
  const double live = text.Value("kv_blocks", {{"state", "live"}});
  CHECK(live > 0);
  CHECK(text.Value("kv_blocks", {{"state", "free"}}) == Limits().num_blocks - live);
  CHECK(text.Value("decode_step_seconds_count", {{"rows", "4"}}) == 4);
  CHECK(text.Value("tokens_total", {{"kind", "completion"}}) ==
        5);  // of an answer not yet complete

  running.context().TryCancel();
  server.gate.Open();
  running.Finish();
  waiting.Finish();
  const MetricsText idle = timed.WaitFor(0, "requests_running");
  CHECK(idle.Value("requests_waiting") == 0);
  CHECK(idle.Value("kv_blocks", {{"state", "live"}}) == 0);
  CHECK(idle.Value("kv_blocks", {{"state", "free"}}) == Limits().num_blocks);
}

TEST_CASE("each call ends in one count, with its code and reason") {
  TimedServer timed;
  TestServer& server = timed.server;
  v1::ChatRequest request = Question();

  request.mutable_generation()->set_max_tokens(2);
  Call(server, request).Finish();
  timed.WaitForEnds(1, "OK", "LENGTH");
  request.mutable_generation()->clear_max_tokens();
  request.mutable_generation()->add_stop("Hi");
  Call(server, request).Finish();
  timed.WaitForEnds(1, "OK", "STOP_STRING");
  Call(server, v1::ChatRequest()).Finish();
  timed.WaitForEnds(1, "INVALID_ARGUMENT", "INVALID_FIELD");
  request = Question();
  request.mutable_messages(0)->add_parts()->set_image("no picture");
  Call(server, request).Finish();
  timed.WaitForEnds(1, "INVALID_ARGUMENT", "IMAGE_UNSUPPORTED");
  request = Question(std::string(5000, 'x'));
  Call(server, request).Finish();
  timed.WaitForEnds(1, "INVALID_ARGUMENT", "CONTEXT_TOO_LONG");
  {
    Call call(server, Endless());
    REQUIRE(call.Read());
    call.context().TryCancel();
    call.Finish();
    timed.WaitForEnds(1, "CANCELLED", "CANCELLED");
  }
  server.engine.FailFinish(server.engine.num_steps(), absl::InternalError("injected by the test"));
  Call(server, Question()).Finish();
  timed.WaitForEnds(1, "INTERNAL", "ENGINE_FAULT");
  server.admission.Close();
  Call(server, Question()).Finish();
  const MetricsText text = timed.WaitForEnds(1, "UNAVAILABLE", "DRAINING");

  CHECK(text.Value("images_rejected_total", {{"reason", "IMAGE_UNSUPPORTED"}}) == 1);
  CHECK(text.Value("image_bytes_sum") == 10);
  CHECK(text.Value("requests_total", {{"code", "OK"}, {"reason", "STOP"}}) == 0);
}

TEST_CASE("calls that came too early or too many are counted") {
  ServerOptions options;
  options.serve = false;
  TimedServer loading(options);
  Call(loading.server, Question()).Finish();
  CHECK(loading.WaitForEnds(1, "UNAVAILABLE", "LOADING").Value("request_duration_seconds_count") ==
        0);

  options.serve = true;
  options.queue.max_requests = 1;
  TimedServer full(options);
  full.server.gate.Close();
  Call running(full.server, Question());
  full.server.gate.WaitUntilHeld();
  Call waiting(full.server, Question());
  REQUIRE(waiting.Read());
  Call(full.server, Question()).Finish();
  full.WaitForEnds(1, "RESOURCE_EXHAUSTED", "QUEUE_FULL");
  full.server.gate.Open();
  CHECK(running.Finish().ok());
  CHECK(waiting.Finish().ok());
  // It waited for the other one's steps.
  CHECK(full.WaitForEnds(2, "OK", "STOP").Value("request_queue_seconds_sum") ==
        kPrefill + 4 * kDecode);
}

}  // namespace
}  // namespace glimpse
