#include "server/metrics.h"

#include <catch2/catch.hpp>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/server/metrics_text.h"

namespace glimpse {
namespace {

// What operators are promised, and more that there is.
const std::map<std::string, std::string> kPromised = {
    {"time_to_first_token_seconds", "histogram"},
    {"inter_token_latency_seconds", "histogram"},
    {"request_duration_seconds", "histogram"},
    {"request_queue_seconds", "histogram"},
    {"image_decode_seconds", "histogram"},
    {"image_resize_seconds", "histogram"},
    {"vision_encode_seconds", "histogram"},
    {"prefill_seconds", "histogram"},
    {"decode_step_seconds", "histogram"},
    {"image_bytes", "histogram"},
    {"image_pixels", "histogram"},
    {"requests_total", "counter"},
    {"tokens_total", "counter"},
    {"images_rejected_total", "counter"},
    {"graph_replays_total", "counter"},
    {"eager_steps_total", "counter"},
    {"graph_captures_total", "counter"},
    {"preemptions_total", "counter"},
    {"requests_running", "gauge"},
    {"requests_waiting", "gauge"},
    {"batch_rows", "gauge"},
    {"batch_padding_ratio", "gauge"},
    {"kv_blocks", "gauge"},
    {"gpu_memory_bytes", "gauge"},
    {"weights_loaded_ratio", "gauge"},
    {"build_info", "gauge"},
};

absl::Time At(double seconds) { return absl::UnixEpoch() + absl::Seconds(seconds); }

MetricsText Read(const Metrics& metrics) { return MetricsText(metrics.Text()); }

StepReport DecodeStep(int rows, int bucket, double seconds) {
  StepReport step;
  step.kind = StepKind::kDecode;
  step.rows = rows;
  step.bucket = bucket;
  step.duration = absl::Seconds(seconds);
  return step;
}

SchedulerLoad Load(int running, int waiting, int live, int free, int preemptions) {
  SchedulerLoad load;
  load.running = running;
  load.waiting = waiting;
  load.kv_blocks_live = live;
  load.kv_blocks_free = free;
  load.preemptions = preemptions;
  return load;
}

TEST_CASE("every metric that operators are promised is there from the start, and no other") {
  const Metrics metrics("1.2.3", BucketTable());
  const MetricsText text = Read(metrics);
  for (const auto& [name, type] : kPromised) {
    INFO(name);
    CHECK(text.Type(name) == type);
  }
  CHECK(text.types().size() == kPromised.size());
}

TEST_CASE("series whose labels are known count from zero") {
  const Metrics metrics("1.2.3", BucketTable());
  const MetricsText text = Read(metrics);
  const std::vector<std::pair<std::string, std::string>> ends = {
      {"OK", "STOP"},
      {"OK", "LENGTH"},
      {"OK", "STOP_STRING"},
      {"INVALID_ARGUMENT", "INVALID_FIELD"},
      {"INVALID_ARGUMENT", "IMAGE_TOO_LARGE"},
      {"INVALID_ARGUMENT", "IMAGE_UNSUPPORTED"},
      {"INVALID_ARGUMENT", "IMAGE_CORRUPT"},
      {"INVALID_ARGUMENT", "CONTEXT_TOO_LONG"},
      {"RESOURCE_EXHAUSTED", "QUEUE_FULL"},
      {"RESOURCE_EXHAUSTED", "SLOW_READER"},
      {"DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED"},
      {"CANCELLED", "CANCELLED"},
      {"UNAVAILABLE", "LOADING"},
      {"UNAVAILABLE", "DRAINING"},
      {"INTERNAL", "ENGINE_FAULT"},
  };
  for (const auto& [code, reason] : ends) {
    INFO(code << " " << reason);
    CHECK(text.Value("requests_total", {{"code", code}, {"reason", reason}}) == 0);
  }
  for (const char* reason : {"IMAGE_TOO_LARGE", "IMAGE_UNSUPPORTED", "IMAGE_CORRUPT"}) {
    CHECK(text.Value("images_rejected_total", {{"reason", reason}}) == 0);
  }
  for (const char* kind : {"prompt", "image", "completion"}) {
    CHECK(text.Value("tokens_total", {{"kind", kind}}) == 0);
  }
  for (const char* rows : {"4", "8", "16", "32", "64"}) {
    CHECK(text.Value("decode_step_seconds_count", {{"rows", rows}}) == 0);
    CHECK(text.Value("graph_replays_total", {{"kind", "decode"}, {"bucket", rows}}) == 0);
  }
  for (const char* use : {"weights", "kv", "graphs", "workspace", "free"}) {
    CHECK(text.Value("gpu_memory_bytes", {{"use", use}}) == 0);
  }
  CHECK(text.Value("weights_loaded_ratio") == 0);
  CHECK(text.Value("build_info", {{"version", "1.2.3"}, {"compiler", __VERSION__}}) == 1);
}

TEST_CASE("buckets stand where operators were told") {
  const Metrics metrics("1", BucketTable());
  const MetricsText text = Read(metrics);
  for (const char* limit :
       {"0.002", "0.004", "0.005", "0.006", "0.007", "0.008", "0.01", "0.015", "0.025", "0.05",
        "0.075", "0.1", "0.15", "0.2", "0.3", "0.5", "1", "2.5", "+Inf"}) {
    CHECK(text.Value("inter_token_latency_seconds_bucket", {{"le", limit}}) == 0);
  }
  for (const char* limit : {"0.01", "0.02", "0.04", "0.08", "0.16", "0.32", "0.64", "1.28", "2.56",
                            "5.12", "10.24", "20.48", "40.96", "81.92", "+Inf"}) {
    CHECK(text.Value("request_duration_seconds_bucket", {{"le", limit}}) == 0);
  }
}

TEST_CASE("a step sets the gauges, and a decode step is timed by its padded rows") {
  Metrics metrics("1", BucketTable());
  metrics.OnStep(DecodeStep(3, 4, 0.0078125), Load(5, 7, 30, 70, 2));
  metrics.OnStep(DecodeStep(4, 4, 0.0078125), Load(5, 7, 30, 70, 2));
  metrics.OnStep(DecodeStep(6, 8, 0.25), Load(6, 1, 40, 60, 3));
  StepReport prefill = DecodeStep(1, 512, 0.5);
  prefill.kind = StepKind::kPrefill;
  metrics.OnStep(prefill, Load(6, 1, 40, 60, 3));

  const MetricsText text = Read(metrics);
  CHECK(text.Value("decode_step_seconds_count", {{"rows", "4"}}) == 2);
  CHECK(text.Value("decode_step_seconds_sum", {{"rows", "4"}}) == 0.015625);
  CHECK(text.Value("decode_step_seconds_bucket", {{"rows", "4"}, {"le", "0.007"}}) == 0);
  CHECK(text.Value("decode_step_seconds_bucket", {{"rows", "4"}, {"le", "0.008"}}) == 2);
  CHECK(text.Value("decode_step_seconds_sum", {{"rows", "8"}}) == 0.25);
  CHECK(text.Value("batch_rows") == 6);
  CHECK(text.Value("batch_padding_ratio") == 0.25);
  CHECK(text.Value("requests_running") == 6);
  CHECK(text.Value("requests_waiting") == 1);
  CHECK(text.Value("preemptions_total") == 3);
  CHECK(text.Value("kv_blocks", {{"state", "live"}}) == 40);
  CHECK(text.Value("kv_blocks", {{"state", "cached"}}) == 0);
  CHECK(text.Value("kv_blocks", {{"state", "free"}}) == 60);

  metrics.OnIdle(Load(0, 0, 0, 100, 3));
  const MetricsText idle = Read(metrics);
  CHECK(idle.Value("batch_rows") == 0);
  CHECK(idle.Value("batch_padding_ratio") == 0);
  CHECK(idle.Value("requests_running") == 0);
  CHECK(idle.Value("kv_blocks", {{"state", "free"}}) == 100);
}

TEST_CASE("no number of rows makes more than a few series") {
  Metrics metrics("1", BucketTable());
  for (int rows = 1; rows <= 4096; ++rows) {
    metrics.OnStep(DecodeStep(rows, rows, 0.001), Load(rows, 0, 0, 0, 0));
  }
  const std::string text = metrics.Text();
  std::set<std::string> labels;
  for (size_t at = 0; (at = text.find("rows=\"", at)) != std::string::npos; ++at) {
    labels.insert(text.substr(at + 6, text.find('"', at + 6) - at - 6));
  }
  CHECK(labels.size() == 64 + 6);
  const MetricsText parsed(text);
  CHECK(parsed.Value("decode_step_seconds_count", {{"rows", "64"}}) == 1);
  CHECK(parsed.Value("decode_step_seconds_count", {{"rows", "128"}}) == 64);
  CHECK(parsed.Value("decode_step_seconds_count", {{"rows", "4096"}}) == 2048);
}

TEST_CASE("the engine's counts are copied, and go on when it starts anew from zero") {
  Metrics metrics("1", BucketTable());
  GraphStats graphs;
  graphs.captures = 7;
  graphs.replays[{StepKind::kDecode, 4}] = 100;
  graphs.replays[{StepKind::kPrefill, 512}] = 10;
  graphs.eager_steps[{StepKind::kVision, "off"}] = 3;
  metrics.OnEngine(graphs, {1000, 2000, 30, 400, 5});
  metrics.OnEngine(graphs, {1000, 2000, 30, 400, 5});
  graphs.replays[{StepKind::kDecode, 4}] = 150;
  metrics.OnEngine(graphs, {1000, 2000, 31, 401, 3});
  GraphStats reloaded;
  reloaded.captures = 2;
  reloaded.replays[{StepKind::kDecode, 4}] = 5;
  metrics.OnEngine(reloaded, {1000, 2000, 31, 401, 3});

  const MetricsText text = Read(metrics);
  CHECK(text.Value("graph_captures_total") == 9);
  CHECK(text.Value("graph_replays_total", {{"kind", "decode"}, {"bucket", "4"}}) == 155);
  CHECK(text.Value("graph_replays_total", {{"kind", "prefill"}, {"bucket", "512"}}) == 10);
  CHECK(text.Value("eager_steps_total", {{"kind", "vision"}, {"reason", "off"}}) == 3);
  CHECK(text.Value("gpu_memory_bytes", {{"use", "weights"}}) == 1000);
  CHECK(text.Value("gpu_memory_bytes", {{"use", "kv"}}) == 2000);
  CHECK(text.Value("gpu_memory_bytes", {{"use", "graphs"}}) == 31);
  CHECK(text.Value("gpu_memory_bytes", {{"use", "workspace"}}) == 401);
  CHECK(text.Value("gpu_memory_bytes", {{"use", "free"}}) == 3);
}

TEST_CASE("weights are a ratio") {
  Metrics metrics("1", BucketTable());
  metrics.OnWeights(3, 4);
  CHECK(Read(metrics).Value("weights_loaded_ratio") == 0.75);
  metrics.OnWeights(0, 0);  // a model without any
  CHECK(Read(metrics).Value("weights_loaded_ratio") == 1);
}

TEST_CASE("a request that waited in vain counts in the queue's times") {
  Metrics metrics("1", BucketTable());
  RequestRecord record;
  record.code = record.reason = "DEADLINE_EXCEEDED";
  record.arrived = At(10);
  record.completion.times.enqueued = At(11);
  record.completion.times.finished = At(13);
  record.ended = At(14);
  metrics.OnRequest(record);
  const MetricsText text = Read(metrics);
  CHECK(text.Value("request_queue_seconds_sum") == 2);
  CHECK(text.Value("request_duration_seconds_sum") == 4);
  CHECK(text.Value("prefill_seconds_count") == 0);
}

TEST_CASE("a refused call has an end and no duration") {
  Metrics metrics("1", BucketTable());
  RequestRecord record;
  record.code = "INVALID_ARGUMENT";
  record.reason = "IMAGE_CORRUPT";
  record.image.bytes = 20000;
  record.arrived = At(1);
  record.ended = At(2);
  metrics.OnRequest(record);
  const MetricsText text = Read(metrics);
  CHECK(text.Value("requests_total", {{"code", "INVALID_ARGUMENT"}, {"reason", "IMAGE_CORRUPT"}}) ==
        1);
  CHECK(text.Value("images_rejected_total", {{"reason", "IMAGE_CORRUPT"}}) == 1);
  CHECK(text.Value("image_bytes_sum") == 20000);
  CHECK(text.Value("image_pixels_count") == 0);
  CHECK(text.Value("image_decode_seconds_count") == 0);
  CHECK(text.Value("request_duration_seconds_count") == 0);
}

TEST_CASE("threads count while others read, and nothing is lost") {
  constexpr int kRounds = 2000;
  Metrics metrics("1", BucketTable());
  RequestRecord record;
  record.code = "OK";
  record.reason = "STOP";
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < kRounds; ++round) {
        metrics.OnRequest(record);
        metrics.inter_token_latency_seconds.Observe(0.5);
        metrics.completion_tokens.Increment();
      }
    });
  }
  threads.emplace_back([&] {
    for (int round = 1; round <= kRounds; ++round) {
      metrics.OnStep(DecodeStep(1, 4, 0.25), Load(1, 0, 1, 1, round));
      metrics.OnEngine({round, {}, {}}, {});
    }
  });
  for (int i = 0; i < 20; ++i) CHECK(Read(metrics).types().size() == kPromised.size());
  for (std::thread& thread : threads) thread.join();
  const MetricsText text = Read(metrics);
  CHECK(text.Value("requests_total", {{"code", "OK"}, {"reason", "STOP"}}) == 2 * kRounds);
  CHECK(text.Value("inter_token_latency_seconds_sum") == kRounds);
  CHECK(text.Value("tokens_total", {{"kind", "completion"}}) == 2 * kRounds);
  CHECK(text.Value("decode_step_seconds_count", {{"rows", "4"}}) == kRounds);
  CHECK(text.Value("graph_captures_total") == kRounds);
  CHECK(text.Value("preemptions_total") == kRounds);
}

}  // namespace
}  // namespace glimpse
