#include "server/metrics.h"

#include <prometheus/text_serializer.h>

#include <algorithm>
#include <bit>
#include <sstream>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace glimpse {
namespace {

using prometheus::Labels;

std::string Prefixed(const char* name) { return absl::StrCat("glimpse_", name); }

// Beyond the captured sizes a step has any number of rows: there, few numbers stand for all.
std::string RowsLabel(int rows) {
  constexpr unsigned kExact = 64;
  const auto count = static_cast<unsigned>(rows);
  return absl::StrCat(count <= kExact ? count : std::bit_ceil(count));
}

Labels ReplayLabels(const GraphKey& key) {
  return {{"kind", StepKindName(key.kind)}, {"bucket", absl::StrCat(key.bucket)}};
}

Labels EagerLabels(StepKind kind, const std::string& reason) {
  return {{"kind", StepKindName(kind)}, {"reason", reason}};
}

// Every end that a call can have, so that each series is there before it first counts.
const std::pair<const char*, std::vector<const char*>> kEnds[] = {
    {"OK", {"STOP", "LENGTH", "STOP_STRING"}},
    {"INVALID_ARGUMENT",
     {"INVALID_FIELD", "IMAGE_TOO_LARGE", "IMAGE_UNSUPPORTED", "IMAGE_CORRUPT",
      "CONTEXT_TOO_LONG"}},
    {"RESOURCE_EXHAUSTED", {"QUEUE_FULL", "SLOW_READER"}},
    {"DEADLINE_EXCEEDED", {"DEADLINE_EXCEEDED"}},
    {"CANCELLED", {"CANCELLED"}},
    {"UNAVAILABLE", {"LOADING", "DRAINING"}},
    {"INTERNAL", {"ENGINE_FAULT"}},
};

void AddEnds(prometheus::Family<prometheus::Counter>& requests,
             prometheus::Family<prometheus::Counter>& images) {
  for (const auto& [code, reasons] : kEnds) {
    for (const char* reason : reasons) {
      requests.Add({{"code", code}, {"reason", reason}});
      if (absl::StartsWith(reason, "IMAGE_")) images.Add({{"reason", reason}});
    }
  }
}

void Observe(absl::Duration duration, prometheus::Histogram& histogram) {
  histogram.Observe(absl::ToDoubleSeconds(duration));
}

// What `now` counts beyond `before`; all of it if the counting has begun anew.
double Grown(int64_t before, int64_t now) {
  return static_cast<double>(now >= before ? now - before : now);
}

template <typename Key>
int64_t CountOf(const std::map<Key, int64_t>& counts, const Key& key) {
  const auto found = counts.find(key);
  return found == counts.end() ? 0 : found->second;
}

}  // namespace

const Metrics::Buckets Metrics::kPictureSeconds = {.001, .002, .005, .01, .02, .05,
                                                   .1,   .2,   .5,   1,   2};
const Metrics::Buckets Metrics::kStageSeconds = {.005, .01, .02, .03, .05, .075, .1, .15, .2,
                                                 .3,   .5,  .75, 1,   1.5, 2.5,  5,  10};
const Metrics::Buckets Metrics::kStepSeconds = {.001, .002, .003, .004, .005, .006, .007, .008, .01,
                                                .012, .015, .02,  .03,  .05,  .1,   .2,   .5,   1};

Metrics::Metrics(const std::string& version, const BucketTable& buckets) {
  build_info.Add({{"version", version}, {"compiler", __VERSION__}}).Set(1);
  AddEnds(requests_total, images_rejected_total);
  for (const int rows : buckets.decode_rows()) {
    DecodeSteps(rows);
    graph_replays_total.Add(ReplayLabels({StepKind::kDecode, rows}));
  }
  for (const StepKind kind : {StepKind::kVision, StepKind::kPrefill, StepKind::kDecode}) {
    eager_steps_total.Add(EagerLabels(kind, "off"));
  }
  OnEngine({}, {});
}

Metrics::Family<Metrics::Counter>& Metrics::Counters(const char* name, const char* help) {
  return prometheus::BuildCounter().Name(Prefixed(name)).Help(help).Register(registry);
}

Metrics::Family<Metrics::Gauge>& Metrics::Gauges(const char* name, const char* help) {
  return prometheus::BuildGauge().Name(Prefixed(name)).Help(help).Register(registry);
}

Metrics::Family<Metrics::Histogram>& Metrics::Histograms(const char* name, const char* help) {
  return prometheus::BuildHistogram().Name(Prefixed(name)).Help(help).Register(registry);
}

Metrics::Counter& Metrics::OneCounter(const char* name, const char* help) {
  return Counters(name, help).Add({});
}

Metrics::Gauge& Metrics::OneGauge(const char* name, const char* help) {
  return Gauges(name, help).Add({});
}

Metrics::Histogram& Metrics::OneHistogram(const char* name, const char* help,
                                          const Buckets& buckets) {
  return Histograms(name, help).Add({}, buckets);
}

Metrics::Buckets Metrics::Doubling(double first, int count) {
  Buckets buckets;
  for (int i = 0; i < count; ++i, first *= 2) buckets.push_back(first);
  return buckets;
}

Metrics::Histogram& Metrics::DecodeSteps(int bucket) {
  return decode_step_seconds.Add({{"rows", RowsLabel(bucket)}}, kStepSeconds);
}

std::string Metrics::Text() const {
  std::ostringstream text;
  prometheus::TextSerializer().Serialize(text, registry.Collect());
  return std::move(text).str();
}

void Metrics::SetLoad(const SchedulerLoad& load) {
  requests_running.Set(load.running);
  requests_waiting.Set(static_cast<double>(load.waiting));
  kv_blocks_live.Set(load.kv_blocks_live);
  kv_blocks_free.Set(load.kv_blocks_free);
  preemptions_total.Increment(static_cast<double>(load.preemptions) - preemptions_total.Value());
}

void Metrics::OnStep(const StepReport& step, const SchedulerLoad& load) {
  SetLoad(load);
  if (step.kind != StepKind::kDecode) return;
  batch_rows.Set(step.rows);
  batch_padding_ratio.Set(static_cast<double>(step.bucket - step.rows) / step.bucket);
  Observe(step.duration, DecodeSteps(step.bucket));
}

void Metrics::OnIdle(const SchedulerLoad& load) {
  SetLoad(load);
  batch_rows.Set(0);
  batch_padding_ratio.Set(0);
}

void Metrics::OnEngine(const GraphStats& graphs, const MemoryUse& memory) {
  MutexLock lock(&engine_mutex_);
  graph_captures_total.Increment(Grown(last_graphs_.captures, graphs.captures));
  for (const auto& [key, count] : graphs.replays) {
    graph_replays_total.Add(ReplayLabels(key))
        .Increment(Grown(CountOf(last_graphs_.replays, key), count));
  }
  for (const auto& [key, count] : graphs.eager_steps) {
    eager_steps_total.Add(EagerLabels(key.first, key.second))
        .Increment(Grown(CountOf(last_graphs_.eager_steps, key), count));
  }
  last_graphs_ = graphs;
  const std::pair<const char*, int64_t> uses[] = {{"weights", memory.weights},
                                                  {"kv", memory.kv_cache},
                                                  {"graphs", memory.graphs},
                                                  {"workspace", memory.workspace},
                                                  {"free", memory.free}};
  for (const auto& [use, bytes] : uses) {
    gpu_memory_bytes.Add({{"use", use}}).Set(static_cast<double>(bytes));
  }
}

void Metrics::OnWeights(int64_t done, int64_t total) {
  weights_loaded_ratio.Set(total <= 0 ? 1 : static_cast<double>(done) / static_cast<double>(total));
}

void Metrics::OnRequest(const RequestRecord& request) {
  requests_total.Add({{"code", request.code}, {"reason", request.reason}}).Increment();
  if (absl::StartsWith(request.reason, "IMAGE_")) {
    images_rejected_total.Add({{"reason", request.reason}}).Increment();
  }
  if (request.image.bytes > 0) image_bytes.Observe(static_cast<double>(request.image.bytes));
  if (request.image.pixels > 0) {
    image_pixels.Observe(static_cast<double>(request.image.pixels));
    Observe(request.image.decode, image_decode_seconds);
    Observe(request.image.resize, image_resize_seconds);
  }
  const StageTimes& times = request.completion.times;
  if (!Happened(times.enqueued)) return;
  Observe(request.ended - request.arrived, request_duration_seconds);
  Observe((Happened(times.admitted) ? times.admitted : times.finished) - times.enqueued,
          request_queue_seconds);
  if (Happened(times.encoded)) Observe(times.encoded - times.admitted, vision_encode_seconds);
  if (Happened(times.first_token)) {
    Observe(times.first_token - times.prefill_began(), prefill_seconds);
  }
}

}  // namespace glimpse
