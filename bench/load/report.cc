#include "bench/load/report.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/run_date.h"

namespace glimpse::bench {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::array kCurveShares = {0.01, 0.05, 0.1, 0.2,  0.3,  0.4,   0.5,   0.6,
                                     0.7,  0.8,  0.9, 0.95, 0.99, 0.995, 0.999, 0.9999};

double Ms(absl::Duration duration) { return absl::ToDoubleMilliseconds(duration); }

// The rates of the measured time.
struct Rates {
  double seconds = 0;
  double completed = 0, good = 0;      // calls a second
  double tokens = 0, good_tokens = 0;  // a second
  // What the server writes while all the calls that it takes at a time decode: their number over
  // the median time between two tokens. 0 where that number is not known: an open loop, or a mix
  // in which some calls do something else.
  int decoding = 0;
  double decode_tokens = 0;
  double tokens_a_message = 0;
  double own_cpu_us = 0, server_cpu_us = 0;  // a token
};

// The calls that decode at the same time most of the time; 0: unknown.
int Decoding(const LoadOptions& options, const Target& target) {
  const CallMix& mix = options.mix;
  const bool plain = mix.picture_share == 0 && mix.cancel_share == 0 && mix.slow_share == 0;
  if (options.rate > 0 || !plain) return 0;
  return std::min(options.concurrency, static_cast<int>(target.model().limits().max_batch_size()));
}

Rates RatesOf(const LoadOptions& options, const Target& target, const RunResult& result) {
  const Snapshot &from = result.from, &to = result.to;
  Rates rates;
  rates.seconds = absl::ToDoubleSeconds(to.since_start - from.since_start);
  const auto per = [](double sum, double count) { return count > 0 ? sum / count : 0; };
  const auto tokens = static_cast<double>(to.tokens - from.tokens);
  rates.completed = per(static_cast<double>(to.completed - from.completed), rates.seconds);
  rates.good = per(static_cast<double>(to.good - from.good), rates.seconds);
  rates.tokens = per(tokens, rates.seconds);
  rates.good_tokens = per(static_cast<double>(to.good_tokens - from.good_tokens), rates.seconds);
  rates.decoding = Decoding(options, target);
  const absl::Duration gap = result.tally.text().inter_token.Quantile(0.5);
  rates.decode_tokens = per(rates.decoding, absl::ToDoubleSeconds(gap));
  rates.tokens_a_message = per(tokens, static_cast<double>(to.messages - from.messages));
  rates.own_cpu_us = per(absl::ToDoubleMicroseconds(to.own_cpu - from.own_cpu), tokens);
  rates.server_cpu_us = per(absl::ToDoubleMicroseconds(to.server_cpu - from.server_cpu), tokens);
  return rates;
}

std::string LoopText(const LoadOptions& options) {
  if (options.rate > 0) {
    return absl::StrFormat("open loop, %g calls/s%s", options.rate,
                           options.steady ? ", steady" : "");
  }
  return absl::StrFormat("closed loop, %d calls at a time", options.concurrency);
}

void AppendLine(const std::string& name, const Histogram& times, std::string* text) {
  if (times.count() == 0) return;
  absl::StrAppendFormat(text, "%-32s %9d %9.2f %9.2f %9.2f %9.2f\n", name, times.count(),
                        Ms(times.Quantile(0.5)), Ms(times.Quantile(0.9)), Ms(times.Quantile(0.99)),
                        Ms(times.largest()));
}

void AppendLatencies(const std::string& kind, const Latencies& latencies, std::string* text) {
  AppendLine("first token, " + kind, latencies.first_token, text);
  AppendLine("inter-token, " + kind, latencies.inter_token, text);
  AppendLine("delta gap, " + kind, latencies.delta_gap, text);
  AppendLine("total, " + kind, latencies.total, text);
}

std::string EndName(const CallEnd& end) {
  return absl::StrCat(end.first, end.second.empty() ? "" : " ", end.second);
}

Json ToJson(const Histogram& times) {
  Json json = {{"count", times.count()},          {"mean", Ms(times.Mean())},
               {"p50", Ms(times.Quantile(0.5))},  {"p90", Ms(times.Quantile(0.9))},
               {"p99", Ms(times.Quantile(0.99))}, {"max", Ms(times.largest())}};
  for (const double share : kCurveShares) json["curve"].push_back(Ms(times.Quantile(share)));
  return json;
}

Json ToJson(const Latencies& latencies) {
  return {{"first_token_ms", ToJson(latencies.first_token)},
          {"inter_token_ms", ToJson(latencies.inter_token)},
          {"delta_gap_ms", ToJson(latencies.delta_gap)},
          {"total_ms", ToJson(latencies.total)}};
}

Json ToJson(const LoadOptions& options) {
  const CallMix& mix = options.mix;
  Json json = {{"loop", LoopText(options)},
               {"prompt_tokens", AbslUnparseFlag(mix.prompt_tokens)},
               {"answer_tokens", AbslUnparseFlag(mix.answer_tokens)},
               {"picture_share", mix.picture_share},
               {"cancel_share", mix.cancel_share},
               {"slow_share", mix.slow_share},
               {"warm_up", absl::FormatDuration(options.warm_up)},
               {"deadline", absl::FormatDuration(options.deadline)},
               {"good_first_token", absl::FormatDuration(options.objectives.first_token)},
               {"good_inter_token", absl::FormatDuration(options.objectives.inter_token)},
               {"good_total", absl::FormatDuration(options.objectives.total)},
               {"seed", options.seed},
               {"threads", options.threads},
               {"connections", options.connections}};
  if (options.temperature.has_value()) json["temperature"] = *options.temperature;
  return json;
}

Json ToJson(const v1::GetModelResponse& model) {
  return {{"name", model.name()},
          {"device", model.device()},
          {"dtype", model.dtype()},
          {"quantization", model.quantization()},
          {"max_batch_size", model.limits().max_batch_size()},
          {"version", model.server_version()}};
}

Json ToJson(const Rates& rates, bool with_server_cpu) {
  Json json = {{"measured_s", rates.seconds},
               {"completed_per_s", rates.completed},
               {"good_per_s", rates.good},
               {"tokens_per_s", rates.tokens},
               {"good_tokens_per_s", rates.good_tokens},
               {"tokens_per_message", rates.tokens_a_message},
               {"client_cpu_us_per_token", rates.own_cpu_us}};
  if (rates.decode_tokens > 0) json["decode_tokens_per_s"] = rates.decode_tokens;
  if (with_server_cpu) json["server_cpu_us_per_token"] = rates.server_cpu_us;
  return json;
}

Json ToJson(const Snapshot& second) {
  return {{"s", absl::ToDoubleSeconds(second.since_start)},
          {"running", second.running},
          {"completed", second.completed},
          {"cancelled", second.cancelled},
          {"failed", second.failed + second.wrong},
          {"tokens", second.tokens}};
}

}  // namespace

std::string ReportText(const LoadOptions& options, const Target& target, const RunResult& result) {
  const Rates rates = RatesOf(options, target, result);
  const v1::GetModelResponse& model = target.model();
  std::string text = absl::StrFormat(
      "%s on %s, %s; prompt %s, answer %s tokens\n"
      "in %.1f s: %.2f calls/s completed, %.0f tokens/s; goodput %.2f calls/s, %.0f tokens/s\n"
      "%.2f tokens a message; CPU a token: client %.1f us",
      model.name(), model.device(), LoopText(options), AbslUnparseFlag(options.mix.prompt_tokens),
      AbslUnparseFlag(options.mix.answer_tokens), rates.seconds, rates.completed, rates.tokens,
      rates.good, rates.good_tokens, rates.tokens_a_message, rates.own_cpu_us);
  if (options.server_pid > 0) absl::StrAppendFormat(&text, ", server %.1f us", rates.server_cpu_us);
  if (rates.decode_tokens > 0) {
    absl::StrAppendFormat(&text, "\nwhile all decode: %.0f tokens/s (%d / median inter-token)",
                          rates.decode_tokens, rates.decoding);
  }
  absl::StrAppendFormat(&text, "\n\n%-32s %9s %9s %9s %9s %9s\n", "ms", "count", "p50", "p90",
                        "p99", "max");
  AppendLatencies("text", result.tally.text(), &text);
  AppendLatencies("picture", result.tally.picture(), &text);
  AppendLine("sent later than planned", result.tally.lateness(), &text);
  text += "\nends of all calls, ms from their start\n";
  for (const auto& [end, times] : result.tally.ends()) AppendLine(EndName(end), times, &text);
  if (result.end.wrong > 0) {
    absl::StrAppend(&text, result.end.wrong, " answers had not the length that was asked for\n");
  }
  return text;
}

std::string ReportJson(const LoadOptions& options, const Target& target, const RunResult& result) {
  Json json = {{"label", options.label},
               {"date", RunDate()},
               {"commit", RunCommit()},
               {"model", ToJson(target.model())},
               {"load", ToJson(options)},
               {"rates", ToJson(RatesOf(options, target, result), options.server_pid > 0)},
               {"wrong_answers", result.end.wrong},
               {"curve_shares", kCurveShares},
               {"text", ToJson(result.tally.text())},
               {"picture", ToJson(result.tally.picture())},
               {"late_ms", ToJson(result.tally.lateness())}};
  for (const auto& [end, times] : result.tally.ends()) {
    Json entry = ToJson(times);
    entry["code"] = end.first;
    entry["reason"] = end.second;
    json["ends_ms"].push_back(std::move(entry));
  }
  for (const Snapshot& second : result.seconds) json["seconds"].push_back(ToJson(second));
  return json.dump(1) + "\n";
}

}  // namespace glimpse::bench
