#include "bench/load/load_options.h"

#include <algorithm>
#include <limits>

#include "absl/flags/flag.h"
#include "absl/flags/reflection.h"
#include "absl/strings/str_cat.h"
#include "preprocess/status_macros.h"

using glimpse::bench::Lengths;
using Files = std::vector<std::string>;

// How much.
ABSL_FLAG(std::string, server, "127.0.0.1:50051", "host:port of the server.");
ABSL_FLAG(int, concurrency, 16,
          "Closed loop: this many calls at the same time; each that ends makes room for the next.");
ABSL_FLAG(double, rate, 0,
          "Open loop: calls a second, at random times (Poisson), whatever the server does. "
          "0: closed loop.");
ABSL_FLAG(bool, steady, false, "Open loop: equal times between calls in place of random ones.");
ABSL_FLAG(absl::Duration, duration, absl::InfiniteDuration(),
          "Send calls for this long. Without it and --requests: 10s.");
ABSL_FLAG(int64_t, requests, 0, "Send this many calls, at most. 0: no matter how many.");
ABSL_FLAG(absl::Duration, warm_up, absl::ZeroDuration(),
          "At the start of --duration: calls of this time are made and not measured.");
ABSL_FLAG(absl::Duration, drain, absl::Seconds(30),
          "After --duration, calls that still run get this long before they are cancelled.");
ABSL_FLAG(absl::Duration, pause, absl::Milliseconds(100),
          "Closed loop: wait this long after a call that was refused or failed.");

// Of what kind.
ABSL_FLAG(Lengths, prompt_tokens, Lengths(512),
          "Tokens of each prompt's text: N, LOW:HIGH or exp:MEAN:MOST. A picture's come on top.");
ABSL_FLAG(Lengths, answer_tokens, Lengths(256),
          "Tokens of each answer, in the same form. Stop tokens do not end it.");
ABSL_FLAG(double, picture_share, 0, "Share of calls with a picture, 0 to 1.");
ABSL_FLAG(Files, picture, {}, "JPEG, PNG or WebP files to send, in turn. Default: made ones.");
ABSL_FLAG(int, picture_side, 640, "Pixels a side of made pictures.");
ABSL_FLAG(
    double, cancel_share, 0,
    "Share of calls that are cancelled, at a random phase: at once, while they wait, or after "
    "any of their tokens.");
ABSL_FLAG(double, slow_share, 0,
          "Share of calls whose reader is slow. Their times are not measured. They are cancelled "
          "when no others are left.");
ABSL_FLAG(absl::Duration, slow_read, absl::Seconds(1),
          "A slow reader's time between two messages; inf: it never reads one, and keeps its place "
          "in a closed loop, which then needs a --duration.");
ABSL_FLAG(absl::Duration, deadline, absl::InfiniteDuration(), "Deadline of each call.");
ABSL_FLAG(double, temperature, -1, "Of each call; 0: greedy. Below 0: the server's default.");
ABSL_FLAG(uint64_t, seed, 1, "Of all that is random here: the same seed sends the same calls.");

// What counts as good.
ABSL_FLAG(absl::Duration, good_first_token, absl::InfiniteDuration(),
          "Goodput counts answers whose first token came within this time,");
ABSL_FLAG(absl::Duration, good_inter_token, absl::InfiniteDuration(),
          "whose later ones came this long after each other on average,");
ABSL_FLAG(absl::Duration, good_total, absl::InfiniteDuration(),
          "and that were complete within this time.");

// This program.
ABSL_FLAG(int, threads, 1, "Threads that send and read.");
ABSL_FLAG(int, connections, 1,
          "Connections over which calls are spread; a server bounds the calls of each (256).");
ABSL_FLAG(int, server_pid, 0,
          "Process id of the server on this machine: report the CPU time that it takes.");
ABSL_FLAG(std::string, json, "", "File that takes the report; bench/plot_load.py draws it.");
ABSL_FLAG(std::string, label, "", "Name of this run in the report.");

namespace glimpse::bench {
namespace {

absl::Status Require(bool ok, const char* name, absl::string_view expected) {
  if (ok) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "--", name, "=", absl::FindCommandLineFlag(name)->CurrentValue(), ": must be ", expected));
}

absl::Status CheckShare(const char* name, double share) {
  return Require(share >= 0 && share <= 1, name, "from 0 to 1");
}

absl::Status CheckMix(const LoadOptions& options) {
  GLIMPSE_RETURN_IF_ERROR(CheckShare("picture_share", options.mix.picture_share));
  GLIMPSE_RETURN_IF_ERROR(CheckShare("cancel_share", options.mix.cancel_share));
  GLIMPSE_RETURN_IF_ERROR(CheckShare("slow_share", options.mix.slow_share));
  GLIMPSE_RETURN_IF_ERROR(Require(options.slow_read > absl::ZeroDuration(), "slow_read", "over 0"));
  // Such readers can take every place before the last of --requests is sent.
  const bool keeps_places = options.rate == 0 && options.mix.slow_share > 0 &&
                            options.slow_read == absl::InfiniteDuration();
  GLIMPSE_RETURN_IF_ERROR(Require(!keeps_places || options.duration != absl::InfiniteDuration(),
                                  "duration", "finite where slow readers never read"));
  GLIMPSE_RETURN_IF_ERROR(Require(options.deadline > absl::ZeroDuration(), "deadline", "over 0"));
  return Require(options.picture_side >= 1 && options.picture_side <= 8192, "picture_side",
                 "from 1 to 8192");
}

absl::Status CheckAmount(const LoadOptions& options) {
  const absl::Duration zero = absl::ZeroDuration();
  GLIMPSE_RETURN_IF_ERROR(Require(options.rate >= 0 && options.rate <= 1e6, "rate", "0 to 10^6"));
  GLIMPSE_RETURN_IF_ERROR(Require(options.concurrency >= 1, "concurrency", "1 or more"));
  GLIMPSE_RETURN_IF_ERROR(Require(options.requests >= 0, "requests", "0 or more"));
  GLIMPSE_RETURN_IF_ERROR(Require(options.duration > zero, "duration", "over 0"));
  GLIMPSE_RETURN_IF_ERROR(Require(options.drain >= zero, "drain", "0 or more"));
  GLIMPSE_RETURN_IF_ERROR(Require(options.pause >= zero, "pause", "0 or more"));
  GLIMPSE_RETURN_IF_ERROR(Require(options.warm_up >= zero && options.warm_up < options.duration,
                                  "warm_up", "0 or more, and less than --duration"));
  GLIMPSE_RETURN_IF_ERROR(
      Require(options.threads >= 1 && options.threads <= 64, "threads", "from 1 to 64"));
  return Require(options.connections >= options.threads, "connections", "at least --threads");
}

void ReadCalls(LoadOptions* options) {
  options->mix.prompt_tokens = absl::GetFlag(FLAGS_prompt_tokens);
  options->mix.answer_tokens = absl::GetFlag(FLAGS_answer_tokens);
  options->mix.picture_share = absl::GetFlag(FLAGS_picture_share);
  options->mix.cancel_share = absl::GetFlag(FLAGS_cancel_share);
  options->mix.slow_share = absl::GetFlag(FLAGS_slow_share);
  options->picture_files = absl::GetFlag(FLAGS_picture);
  options->picture_side = absl::GetFlag(FLAGS_picture_side);
  options->slow_read = absl::GetFlag(FLAGS_slow_read);
  options->deadline = absl::GetFlag(FLAGS_deadline);
  options->seed = absl::GetFlag(FLAGS_seed);
  const double temperature = absl::GetFlag(FLAGS_temperature);
  if (temperature >= 0) options->temperature = static_cast<float>(temperature);
  options->objectives = {absl::GetFlag(FLAGS_good_first_token),
                         absl::GetFlag(FLAGS_good_inter_token), absl::GetFlag(FLAGS_good_total)};
}

void ReadAmount(LoadOptions* options) {
  options->server = absl::GetFlag(FLAGS_server);
  options->rate = absl::GetFlag(FLAGS_rate);
  options->steady = absl::GetFlag(FLAGS_steady);
  options->concurrency = absl::GetFlag(FLAGS_concurrency);
  options->duration = absl::GetFlag(FLAGS_duration);
  options->requests = absl::GetFlag(FLAGS_requests);
  options->warm_up = absl::GetFlag(FLAGS_warm_up);
  options->drain = absl::GetFlag(FLAGS_drain);
  options->pause = absl::GetFlag(FLAGS_pause);
  options->threads = absl::GetFlag(FLAGS_threads);
  options->connections = absl::GetFlag(FLAGS_connections);
  options->server_pid = absl::GetFlag(FLAGS_server_pid);
  options->json = absl::GetFlag(FLAGS_json);
  options->label = absl::GetFlag(FLAGS_label);
  if (options->requests != 0) return;
  options->requests = std::numeric_limits<int64_t>::max();
  if (options->duration == absl::InfiniteDuration()) options->duration = absl::Seconds(10);
}

}  // namespace

absl::StatusOr<LoadOptions> LoadOptionsFromFlags() {
  LoadOptions options;
  ReadAmount(&options);
  ReadCalls(&options);
  GLIMPSE_RETURN_IF_ERROR(CheckAmount(options));
  GLIMPSE_RETURN_IF_ERROR(CheckMix(options));
  return options;
}

}  // namespace glimpse::bench
