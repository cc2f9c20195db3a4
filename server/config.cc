#include "server/config.h"

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <map>

#include "absl/flags/flag.h"
#include "absl/flags/reflection.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "preprocess/status_macros.h"
#include "server/size_flag.h"

using glimpse::Size;

// The checkpoint and the engine.
ABSL_FLAG(std::string, model, "", "Directory of the checkpoint. Required.");
ABSL_FLAG(std::string, load_format, "auto",
          "auto: the checkpoint's weights; dummy: random ones of config.json's sizes.");
ABSL_FLAG(std::string, dtype, "auto",
          "Number type: auto, float32, bfloat16 or float16. auto: float32 on a CPU, config.json's "
          "on a GPU.");
ABSL_FLAG(std::string, device, "auto", "auto, cuda or cpu. auto: a GPU if there is one.");
ABSL_FLAG(Size, max_batch_size, Size{64}, "Requests that are answered at the same time.");
ABSL_FLAG(
    std::string, batch_policy, "auto",
    "How many are answered at once, and who waits for whom. realtime: few, at once; balanced: "
    "4; offline: as many as wait, which wait for each other; auto: by what arrives.");
ABSL_FLAG(Size, max_context, Size{0},
          "Tokens of a prompt and its answer together. 0: config.json's seq_length.");
ABSL_FLAG(Size, kv_cache_bytes, Size{0},
          "Memory of the KV cache. 0: what the batch needs at max_context, within free memory.");

// A GPU's steps.
ABSL_FLAG(std::string, graphs, "on",
          "on: replay captured CUDA graphs where there are kernels for the GPU; off: launch each "
          "step's kernels one by one.");
ABSL_FLAG(
    std::string, capture, "eager",
    "When graphs are captured. eager: all before the server is ready; lazy: the smallest then, "
    "the others at first use; or a list to capture at start, as decode:4,8;prefill:512.");
ABSL_FLAG(std::string, kernels, "auto",
          "auto: the server's own GPU kernels where they fit; off: everything through libtorch.");

// Bounds of what waits.
ABSL_FLAG(Size, max_queue_requests, Size{256}, "Requests that wait, at most.");
ABSL_FLAG(Size, max_queue_tokens, Size{1 << 20},
          "Tokens of waiting requests, at most: their prompts' and max_tokens.");
ABSL_FLAG(Size, max_queue_bytes, Size{1 << 30},
          "Memory of waiting requests, at most; the same again while they are prepared.");

// Bounds of one request.
ABSL_FLAG(Size, max_image_bytes, Size{16 << 20}, "Bytes of a picture file, at most.");
ABSL_FLAG(Size, max_image_pixels, Size{50'000'000}, "Width x height of a picture, at most.");
ABSL_FLAG(Size, max_image_side, Size{16384}, "Pixels of a picture's longer side, at most.");
ABSL_FLAG(Size, max_message_bytes, Size{20 << 20},
          "Bytes of a request, at most; more than max_image_bytes.");

// The network.
ABSL_FLAG(std::string, listen, "127.0.0.1:50051", "host:port to listen on; port 0: any free one.");
ABSL_FLAG(absl::Duration, drain_timeout, absl::Seconds(30),
          "How long a SIGTERM waits for the answers that are being written.");
ABSL_FLAG(absl::Duration, keepalive_time, absl::Seconds(60),
          "Ping a connection that is silent for this long.");
ABSL_FLAG(absl::Duration, keepalive_timeout, absl::Seconds(20),
          "Close a connection that does not answer a ping, or begin to speak, for this long.");
ABSL_FLAG(absl::Duration, stall_timeout, absl::Seconds(30),
          "Cut the call of a client that takes nothing of its answer for this long.");
ABSL_FLAG(Size, max_receiving_bytes, Size{1 << 30},
          "Memory of requests that are being received and of what is being sent, at most; "
          "connections that would need more are closed.");
ABSL_FLAG(Size, max_concurrent_streams, Size{256}, "Calls at the same time in one connection.");
ABSL_FLAG(absl::Duration, max_connection_age, absl::Hours(1),
          "Ask a client to connect anew after this long; its running calls go on.");
ABSL_FLAG(std::string, admin_listen, "127.0.0.1:9090",
          "host:port for /metrics, /healthz and /readyz over plain HTTP, for a network that is "
          "trusted; port 0: any free one. off: none.");
ABSL_FLAG(bool, reflection, true, "Serve gRPC's reflection, for tools such as grpcurl.");

// The process.
ABSL_FLAG(
    std::string, request_log, "stderr",
    "stderr: one JSON line there for each call that has ended, without its texts; off: none.");
ABSL_FLAG(Size, preprocess_threads, Size{4}, "Threads that decode pictures and tokenise text.");
ABSL_FLAG(absl::Duration, liveness_timeout, absl::Seconds(30),
          "Health's \"liveness\" fails when no step came to an end for this long while there was "
          "work; longer than the longest step.");
ABSL_FLAG(bool, print_config, false, "Print the values of all flags and exit.");

namespace glimpse {
namespace {

// What no machine has use for; without them a slip of the finger ends in a library's exception.
constexpr int64_t kMaxBatchSize = 4096;
constexpr int64_t kMaxPreprocessThreads = 1024;

constexpr int64_t kLeastReceivingBytes = 64 << 20;  // gRPC's buffers need some for themselves

absl::Status BadValue(const char* name, absl::string_view expected) {
  return absl::InvalidArgumentError(absl::StrCat(
      "--", name, "=", absl::FindCommandLineFlag(name)->CurrentValue(), ": must be ", expected));
}

// Reads one flag within `low` and `high`, which is at most what T holds.
template <typename T>
absl::Status ReadSize(const char* name, const absl::Flag<Size>& flag, int64_t low, T* value,
                      int64_t high = std::numeric_limits<T>::max()) {
  const int64_t number = absl::GetFlag(flag).value;
  if (number < low || number > high) {
    return BadValue(name, absl::StrCat("from ", low, " to ", high));
  }
  *value = static_cast<T>(number);
  return absl::OkStatus();
}

absl::Status ReadDuration(const char* name, const absl::Flag<absl::Duration>& flag,
                          absl::Duration* value) {
  *value = absl::GetFlag(flag);
  if (*value < absl::Seconds(1) || *value > absl::Hours(24 * 365)) {
    return BadValue(name, "from 1s to 8760h");
  }
  return absl::OkStatus();
}

absl::Status ReadChoice(const char* name, const absl::Flag<std::string>& flag,
                        std::initializer_list<const char*> choices, std::string* value) {
  *value = absl::GetFlag(flag);
  for (const char* choice : choices) {
    if (*value == choice) return absl::OkStatus();
  }
  return BadValue(name, absl::StrCat("one of ", absl::StrJoin(choices, ", ")));
}

absl::Status ReadEngine(EngineOptions* options) {
  options->model_dir = absl::GetFlag(FLAGS_model);
  if (options->model_dir.empty()) return BadValue("model", "the directory of a checkpoint");
  std::string load_format;
  GLIMPSE_RETURN_IF_ERROR(
      ReadChoice("load_format", FLAGS_load_format, {"auto", "dummy"}, &load_format));
  options->load_format = load_format == "dummy" ? LoadFormat::kDummy : LoadFormat::kAuto;
  GLIMPSE_RETURN_IF_ERROR(ReadChoice("dtype", FLAGS_dtype,
                                     {"auto", "float32", "bfloat16", "float16"}, &options->dtype));
  GLIMPSE_RETURN_IF_ERROR(
      ReadChoice("device", FLAGS_device, {"auto", "cuda", "cpu"}, &options->device));
  GLIMPSE_RETURN_IF_ERROR(
      ReadSize("max_batch_size", FLAGS_max_batch_size, 1, &options->max_batch_size, kMaxBatchSize));
  GLIMPSE_RETURN_IF_ERROR(ReadSize("max_context", FLAGS_max_context, 0, &options->max_context));
  GLIMPSE_RETURN_IF_ERROR(ReadChoice("kernels", FLAGS_kernels, {"auto", "off"}, &options->kernels));
  GLIMPSE_RETURN_IF_ERROR(ReadChoice("graphs", FLAGS_graphs, {"on", "off"}, &options->graphs));
  options->capture = absl::GetFlag(FLAGS_capture);  // the engine knows the sizes
  return ReadSize("kv_cache_bytes", FLAGS_kv_cache_bytes, 0, &options->kv_cache_bytes);
}

absl::Status ReadBatchPolicy(BatchPolicyKind* policy) {
  std::string name;
  GLIMPSE_RETURN_IF_ERROR(ReadChoice("batch_policy", FLAGS_batch_policy,
                                     {"auto", "realtime", "balanced", "offline"}, &name));
  *policy = name == "realtime"   ? BatchPolicyKind::kRealtime
            : name == "balanced" ? BatchPolicyKind::kBalanced
            : name == "offline"  ? BatchPolicyKind::kOffline
                                 : BatchPolicyKind::kAuto;
  return absl::OkStatus();
}

absl::Status ReadQueue(RequestQueueOptions* options) {
  int max_requests = 0;  // the worker pool's type
  GLIMPSE_RETURN_IF_ERROR(
      ReadSize("max_queue_requests", FLAGS_max_queue_requests, 1, &max_requests));
  options->max_requests = max_requests;
  GLIMPSE_RETURN_IF_ERROR(
      ReadSize("max_queue_tokens", FLAGS_max_queue_tokens, 1, &options->max_tokens));
  return ReadSize("max_queue_bytes", FLAGS_max_queue_bytes, 1, &options->max_bytes);
}

absl::Status ReadImages(ImageLimits* limits) {
  GLIMPSE_RETURN_IF_ERROR(
      ReadSize("max_image_bytes", FLAGS_max_image_bytes, 1, &limits->max_bytes));
  GLIMPSE_RETURN_IF_ERROR(
      ReadSize("max_image_pixels", FLAGS_max_image_pixels, 1, &limits->max_pixels));
  return ReadSize("max_image_side", FLAGS_max_image_side, 1, &limits->max_side);
}

absl::Status ReadGrpc(int64_t max_image_bytes, GrpcServerOptions* options) {
  options->listen = absl::GetFlag(FLAGS_listen);
  if (options->listen.find(':') == std::string::npos) return BadValue("listen", "host:port");
  int max_message_bytes = 0;  // gRPC's own type
  GLIMPSE_RETURN_IF_ERROR(
      ReadSize("max_message_bytes", FLAGS_max_message_bytes, 1, &max_message_bytes));
  if (max_message_bytes <= max_image_bytes) {
    return BadValue("max_message_bytes", "more than --max_image_bytes");
  }
  options->max_message_bytes = max_message_bytes;
  GLIMPSE_RETURN_IF_ERROR(ReadSize("max_receiving_bytes", FLAGS_max_receiving_bytes,
                                   kLeastReceivingBytes, &options->max_receiving_bytes));
  if (options->max_receiving_bytes / 2 < max_message_bytes) {
    return BadValue("max_receiving_bytes", "at least twice --max_message_bytes");
  }
  GLIMPSE_RETURN_IF_ERROR(
      ReadDuration("keepalive_time", FLAGS_keepalive_time, &options->keepalive_time));
  GLIMPSE_RETURN_IF_ERROR(
      ReadDuration("keepalive_timeout", FLAGS_keepalive_timeout, &options->keepalive_timeout));
  GLIMPSE_RETURN_IF_ERROR(ReadSize("max_concurrent_streams", FLAGS_max_concurrent_streams, 1,
                                   &options->max_concurrent_streams));
  GLIMPSE_RETURN_IF_ERROR(
      ReadDuration("max_connection_age", FLAGS_max_connection_age, &options->max_connection_age));
  options->reflection = absl::GetFlag(FLAGS_reflection);
  return absl::OkStatus();
}

absl::Status ReadOperator(ServerConfig* config) {
  config->admin_listen = absl::GetFlag(FLAGS_admin_listen);
  if (config->admin_listen == "off") {
    config->admin_listen.clear();
  } else if (config->admin_listen.find(':') == std::string::npos) {
    return BadValue("admin_listen", "host:port or off");
  }
  std::string request_log;
  GLIMPSE_RETURN_IF_ERROR(
      ReadChoice("request_log", FLAGS_request_log, {"stderr", "off"}, &request_log));
  config->request_log = request_log == "stderr";
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ServerConfig> ConfigFromFlags() {
  ServerConfig config;
  config.print_config = absl::GetFlag(FLAGS_print_config);
  GLIMPSE_RETURN_IF_ERROR(ReadEngine(&config.engine));
  GLIMPSE_RETURN_IF_ERROR(ReadBatchPolicy(&config.batch_policy));
  GLIMPSE_RETURN_IF_ERROR(ReadQueue(&config.queue));
  GLIMPSE_RETURN_IF_ERROR(ReadImages(&config.images));
  GLIMPSE_RETURN_IF_ERROR(ReadGrpc(config.images.max_bytes, &config.grpc));
  GLIMPSE_RETURN_IF_ERROR(ReadOperator(&config));
  GLIMPSE_RETURN_IF_ERROR(
      ReadDuration("stall_timeout", FLAGS_stall_timeout, &config.stall_timeout));
  GLIMPSE_RETURN_IF_ERROR(
      ReadDuration("drain_timeout", FLAGS_drain_timeout, &config.drain_timeout));
  GLIMPSE_RETURN_IF_ERROR(
      ReadDuration("liveness_timeout", FLAGS_liveness_timeout, &config.liveness_timeout));
  GLIMPSE_RETURN_IF_ERROR(ReadSize("preprocess_threads", FLAGS_preprocess_threads, 1,
                                   &config.preprocess_threads, kMaxPreprocessThreads));
  return config;
}

std::string ConfigText() {
  std::string text;
  const auto all = absl::GetAllFlags();  // with those of the libraries
  const std::map<absl::string_view, absl::CommandLineFlag*> sorted(all.begin(), all.end());
  for (const auto& [name, flag] : sorted) {
    if (!absl::EndsWith(flag->Filename(), "server/config.cc")) continue;
    absl::StrAppend(&text, "--", name, "=", flag->CurrentValue(), "\n");
  }
  return text;
}

}  // namespace glimpse
