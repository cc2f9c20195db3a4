// All that /metrics shows, each metric a member under its own name without the prefix `glimpse_`.
// Those with labels are families, {of these labels}, and come with the members of known labels.
//
// Safe for all threads: gRPC's callbacks, the serving thread and the admin port all use it. Each
// call takes about a microsecond or less and waits for no more than another such call; Text takes
// as long as writing 20 KB. Labels take few values, all of them our own words.
#ifndef GLIMPSE_SERVER_METRICS_H_
#define GLIMPSE_SERVER_METRICS_H_

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <cstdint>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "engine/schedule/bucket_table.h"
#include "engine/schedule/scheduler_stats.h"
#include "engine/step_stats.h"
#include "preprocess/mutex.h"
#include "server/request_record.h"

namespace glimpse {

struct Metrics {
  using Counter = prometheus::Counter;
  using Gauge = prometheus::Gauge;
  using Histogram = prometheus::Histogram;
  template <typename T>
  using Family = prometheus::Family<T>;

  // `buckets`: the sizes for which the series are to be there before the first step.
  Metrics(const std::string& version, const BucketTable& buckets);

  // The text format of Prometheus, version 0.0.4.
  std::string Text() const;

  // After each step that was finished; the serving thread's.
  void OnStep(const StepReport& step, const SchedulerLoad& load);
  // Before the serving thread waits for work.
  void OnIdle(const SchedulerLoad& load);
  // The engine's own counts, now and then. They only grow, but start anew when it loads anew.
  void OnEngine(const GraphStats& graphs, const MemoryUse& memory);
  void OnWeights(int64_t done, int64_t total);
  // When a Chat call has ended.
  void OnRequest(const RequestRecord& request);

  // First: it owns what the others refer to.
  prometheus::Registry registry;

  // One request, in seconds.
  Histogram& time_to_first_token_seconds = OneHistogram(
      "time_to_first_token_seconds", "From a call's arrival to its first token.",
      {.01, .02, .03, .05, .075, .1, .15, .2, .3, .4, .5, .75, 1, 1.5, 2.5, 5, 10, 20, 40, 80});
  Histogram& inter_token_latency_seconds = OneHistogram(
      "inter_token_latency_seconds", "Between two tokens of an answer, as the engine gives them.",
      {.002, .004, .005, .006, .007, .008, .01, .015, .025, .05, .075, .1, .15, .2, .3, .5, 1,
       2.5});
  Histogram& request_duration_seconds = OneHistogram(
      "request_duration_seconds", "From a call's arrival to its end, for calls that were queued.",
      Doubling(.01, 14));
  Histogram& request_queue_seconds =
      OneHistogram("request_queue_seconds", "Waiting for a place in the batch, in vain or not.",
                   {.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 20, 60});
  Histogram& image_decode_seconds =
      OneHistogram("image_decode_seconds", "Decoding a picture file.", kPictureSeconds);
  Histogram& image_resize_seconds = OneHistogram(
      "image_resize_seconds", "Resizing a picture to the model's size.", kPictureSeconds);
  Histogram& vision_encode_seconds =
      OneHistogram("vision_encode_seconds",
                   "A request's picture through the vision tower, with the steps of others that "
                   "lie between its slices.",
                   kStageSeconds);
  Histogram& prefill_seconds =
      OneHistogram("prefill_seconds",
                   "A request's prompt through the model, with the steps of others that lie "
                   "between its chunks.",
                   kStageSeconds);

  // What requests consist of and how they end.
  Histogram& image_bytes =
      OneHistogram("image_bytes", "Size of a picture file, refused or not.", Doubling(1 << 14, 11));
  Histogram& image_pixels = OneHistogram("image_pixels", "Width times height of a decoded picture.",
                                         Doubling(1 << 16, 11));
  Family<Counter>& images_rejected_total =  // {reason}
      Counters("images_rejected_total", "Pictures that were refused, by reason.");
  Family<Counter>& requests_total =  // {code,reason}
      Counters("requests_total",
               "Chat calls that have ended, refused ones included, by status code and reason; for "
               "OK it is the answer's finish reason.");
  Family<Counter>& tokens_total =  // {kind}
      Counters("tokens_total",
               "Tokens computed: text of prompts and rows of pictures, which count when the answer "
               "begins, and tokens of answers.");
  Counter& prompt_tokens = tokens_total.Add({{"kind", "prompt"}});
  Counter& image_tokens = tokens_total.Add({{"kind", "image"}});
  Counter& completion_tokens = tokens_total.Add({{"kind", "completion"}});

  // Steps, and the state after the last one.
  Family<Histogram>& decode_step_seconds =  // {rows}
      Histograms("decode_step_seconds",
                 "The engine's time for one decode step, by its rows after padding.");
  Gauge& batch_rows =
      OneGauge("batch_rows", "Rows of the last decode step without padding; 0 when idle.");
  Gauge& batch_padding_ratio =
      OneGauge("batch_padding_ratio",
               "Share of padding among the rows of the last decode step; 0 when idle.");
  Gauge& requests_running = OneGauge("requests_running", "Requests in the batch.");
  Gauge& requests_waiting = OneGauge(
      "requests_waiting", "Requests that wait for a place in the batch, preempted ones included.");
  Counter& preemptions_total = OneCounter(
      "preemptions_total", "Times a request gave its KV blocks to others, to be computed anew.");
  Family<Gauge>& kv_blocks =  // {state}
      Gauges("kv_blocks", "Blocks of the KV cache: live in requests, cached for later ones, free.");
  Gauge& kv_blocks_live = kv_blocks.Add({{"state", "live"}});
  Gauge& kv_blocks_cached = kv_blocks.Add({{"state", "cached"}});
  Gauge& kv_blocks_free = kv_blocks.Add({{"state", "free"}});

  // The engine.
  Family<Counter>& graph_replays_total =  // {kind,bucket}
      Counters("graph_replays_total",
               "Steps that ran as a captured graph, by its size: rows of a decode step, tokens of "
               "a prefill step.");
  Family<Counter>& eager_steps_total =  // {kind,reason}
      Counters("eager_steps_total", "Steps that ran without a graph, by the reason why.");
  Counter& graph_captures_total = OneCounter("graph_captures_total", "Graphs captured.");
  Family<Gauge>& gpu_memory_bytes =  // {use}
      Gauges("gpu_memory_bytes", "Memory of the device, by use.");
  Gauge& weights_loaded_ratio =
      OneGauge("weights_loaded_ratio", "Share of the weights that is loaded.");
  Family<Gauge>& build_info =  // {version,compiler}
      Gauges("build_info", "1, with the server's build as labels.");

 private:
  using Buckets = Histogram::BucketBoundaries;
  static const Buckets kPictureSeconds, kStageSeconds, kStepSeconds;
  static Buckets Doubling(double first, int count);  // each twice the last

  Family<Counter>& Counters(const char* name, const char* help);
  Family<Gauge>& Gauges(const char* name, const char* help);
  Family<Histogram>& Histograms(const char* name, const char* help);
  Counter& OneCounter(const char* name, const char* help);
  Gauge& OneGauge(const char* name, const char* help);
  Histogram& OneHistogram(const char* name, const char* help, const Buckets& buckets);

  Histogram& DecodeSteps(int bucket);
  void SetLoad(const SchedulerLoad& load);

  Mutex engine_mutex_;
  GraphStats last_graphs_ ABSL_GUARDED_BY(engine_mutex_);
};

}  // namespace glimpse

#endif  // GLIMPSE_SERVER_METRICS_H_
