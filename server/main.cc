// glimpse-server: flags in, a serving process out. The only place that knows the real clock and
// engine.
//
// Order of a life: listen (health says "liveness" only, calls get LOADING) -> load -> serve, with a
// reload at each SIGHUP -> a signal -> drain -> end.
#include <google/protobuf/stubs/logging.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "engine/config.h"
#include "engine/engine.h"
#include "engine/schedule/clock.h"
#include "engine/schedule/request_queue.h"
#include "preprocess/chat_template.h"
#include "preprocess/status_macros.h"
#include "preprocess/tokenizer.h"
#include "preprocess/worker_pool.h"
#include "server/admission.h"
#include "server/chat_service.h"
#include "server/config.h"
#include "server/grpc_server.h"
#include "server/progress.h"
#include "server/served_model.h"
#include "server/serving_loop.h"
#include "server/signals.h"

namespace glimpse {
namespace {

constexpr absl::Duration kLastWritesTimeout = absl::Seconds(2);

struct LoadedModel {
  std::unique_ptr<Engine> engine;
  std::unique_ptr<ServedModel> served;
  ChatService::Model for_service;
};

v1::GetModelResponse Describe(const ServerConfig& config, const Engine& engine) {
  const ModelInfo& info = engine.info();
  v1::GetModelResponse description;
  description.set_name(info.name);
  description.set_device(info.device);
  description.set_dtype(info.dtype);
  description.set_quantization(info.quantization);
  description.set_parameters(info.parameters);
  description.set_weight_bytes(info.weight_bytes);
  description.set_kv_cache_bytes(info.kv_bytes);
  description.set_vocabulary_size(engine.limits().vocabulary_size);
  description.set_server_version(GLIMPSE_VERSION);
  v1::Limits* limits = description.mutable_limits();
  limits->set_max_context_tokens(engine.limits().max_context);
  limits->set_image_tokens(engine.limits().image_rows);
  limits->set_max_image_bytes(config.images.max_bytes);
  limits->set_max_image_pixels(config.images.max_pixels);
  limits->set_max_image_side(config.images.max_side);
  limits->set_max_message_bytes(config.grpc.max_message_bytes);
  limits->set_max_batch_size(engine.limits().max_batch_size);
  return description;
}

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(const std::string& model_dir) {
  GLIMPSE_ASSIGN_OR_RETURN(const ModelConfig config, ReadModelConfig(model_dir));
  GLIMPSE_ASSIGN_OR_RETURN(std::unique_ptr<Tokenizer> tokenizer, Tokenizer::Load(model_dir));
  const int known = tokenizer->vocabulary_size(), rows = config.language.vocabulary_size;
  if (known <= rows) return tokenizer;
  return absl::InvalidArgumentError(
      absl::StrCat(model_dir, "/tokenizer.model and tokenizer_config.json define ", known,
                   " ids, but config.json's padded_vocab_size is ", rows));
}

absl::StatusOr<LoadedModel> LoadModel(const ServerConfig& config, const Clock* clock) {
  // Before the weights, which can take minutes: what is wrong here is said at once.
  EngineOptions options = config.engine;
  GLIMPSE_ASSIGN_OR_RETURN(std::unique_ptr<Tokenizer> tokenizer, LoadTokenizer(options.model_dir));
  GLIMPSE_ASSIGN_OR_RETURN(ChatTemplate chat_template, ChatTemplate::Create(*tokenizer));

  Progress progress(clock, isatty(STDERR_FILENO) != 0);
  options.progress = [&](int64_t done, int64_t total) { progress.Update(done, total); };
  LoadedModel model;
  GLIMPSE_ASSIGN_OR_RETURN(model.engine, Engine::Create(options));
  std::fprintf(stderr, "steps run on %s: %s\n", model.engine->info().device.c_str(),
               model.engine->info().execution.c_str());
  std::fprintf(stderr, "memory (GiB): %s\n", model.engine->memory().DebugString().c_str());
  model.served = std::make_unique<ServedModel>(std::move(tokenizer), std::move(chat_template),
                                               model.engine->limits(), config.images);
  model.for_service = {model.served.get(), model.engine->info().default_sampling,
                       Describe(config, *model.engine)};
  return model;
}

// Everything that was accepted is answered or refused when this returns.
void Drain(absl::Duration timeout, Admission& admission, ServingLoop& loop, GrpcServer& server) {
  std::fprintf(stderr, "draining %d calls\n", admission.calls());
  admission.Close();  // first: who sees that the server is not ready is sure to be refused
  server.SetReady(false);
  admission.WaitUntilEmpty(timeout);
  loop.Drain(absl::InfinitePast());  // calls that are still there end UNAVAILABLE
  admission.WaitUntilEmpty(kLastWritesTimeout);
  server.Shutdown(absl::ZeroDuration());
}

// Loads the checkpoint's files as they are now, between the calls that were accepted before and
// those after. An error: the old weights are gone, and the new ones did not come.
absl::Status Reload(absl::Duration timeout, Admission& admission, ServingLoop& loop, Engine& engine,
                    GrpcServer& server) {
  std::fprintf(stderr, "reloading after %d calls\n", admission.calls());
  admission.Suspend();
  server.SetReady(false);
  absl::Status status = absl::DeadlineExceededError("calls are still running");
  if (admission.WaitUntilEmpty(timeout)) {
    loop.RunWhenIdle([&] { status = engine.Reload(); });
  }
  const bool old_one_serves = absl::IsDeadlineExceeded(status) || absl::IsInvalidArgument(status) ||
                              absl::IsNotFound(status);
  if (!status.ok() && !old_one_serves) return status;
  std::fprintf(stderr, "%s\n",
               status.ok() ? "reloaded" : absl::StrCat("not reloaded: ", status.message()).c_str());
  admission.Open();
  server.SetReady(true);
  return absl::OkStatus();
}

absl::Status Serve(const ServerConfig& config, ServerSignals& signals) {
  const RealClock clock;
  Admission admission(config.queue.max_bytes);
  RequestQueue queue(config.queue);
  WorkerPool pool(config.preprocess_threads, static_cast<int>(config.queue.max_requests));
  ChatService service({&clock, &pool, &queue, &admission});
  GLIMPSE_ASSIGN_OR_RETURN(const std::unique_ptr<GrpcServer> server,
                           GrpcServer::Start(config.grpc, &service));
  GLIMPSE_ASSIGN_OR_RETURN(const LoadedModel model, LoadModel(config, &clock));

  SchedulerOptions options;
  options.limits = model.engine->limits();
  options.buckets = config.engine.buckets;
  options.max_prefill_tokens = config.engine.max_prefill_tokens;
  options.max_vision_rows = config.engine.max_vision_rows;
  ServingLoop loop(options, &queue, model.engine.get(), &clock);
  signals.Defer();
  service.Serve(&model.for_service);
  server->SetReady(true);
  std::fprintf(stderr, "listening on %s\n", server->address().c_str());

  while (signals.Wait() == Wanted::kReload) {
    GLIMPSE_RETURN_IF_ERROR(Reload(config.drain_timeout, admission, loop, *model.engine, *server));
  }
  Drain(config.drain_timeout, admission, loop, *server);
  return absl::OkStatus();
}

// gRPC 1.51 accepts no connection ever again once it has run out of file descriptors, so it gets
// all that there are.
void RaiseFileLimit() {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "glimpse-server: %s\n", std::string(status.message()).c_str());
  return EXIT_FAILURE;
}

int Main(int argc, char** argv) {
  // The libraries' own log lines would stand beside our one line; GRPC_VERBOSITY=INFO brings
  // gRPC's back. Protobuf's only repeat what a client sent wrongly.
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);
  google::protobuf::SetLogHandler(nullptr);
  absl::SetProgramUsageMessage(
      "serves a GLM-4V checkpoint over gRPC\n  glimpse-server --model=DIR");
  const std::vector<char*> arguments = absl::ParseCommandLine(argc, argv);
  if (arguments.size() > 1) {
    return Fail(absl::InvalidArgumentError(std::string("unexpected argument: ") + arguments[1]));
  }
  const absl::StatusOr<ServerConfig> config = ConfigFromFlags();
  if (!config.ok()) return Fail(config.status());
  if (config->print_config) {
    std::fputs(ConfigText().c_str(), stdout);
    return EXIT_SUCCESS;
  }
  RaiseFileLimit();
  std::signal(SIGPIPE, SIG_IGN);      // standard error may be a pipe whose reader has left
  auto* signals = new ServerSignals;  // its thread outlives main
  const absl::Status status = Serve(*config, *signals);
  return status.ok() ? EXIT_SUCCESS : Fail(status);
}

}  // namespace
}  // namespace glimpse

int main(int argc, char** argv) { return glimpse::Main(argc, argv); }
