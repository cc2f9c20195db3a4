// glimpse-server: the checkpoint of --model on the engine.
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "engine/config.h"
#include "engine/engine.h"
#include "preprocess/chat_template.h"
#include "preprocess/status_macros.h"
#include "preprocess/tokenizer.h"
#include "server/progress.h"
#include "server/server_main.h"

namespace glimpse {
namespace {

v1::GetModelResponse Describe(const ModelInfo& info) {
  v1::GetModelResponse description;
  description.set_name(info.name);
  description.set_device(info.device);
  description.set_dtype(info.dtype);
  description.set_quantization(info.quantization);
  description.set_parameters(info.parameters);
  description.set_weight_bytes(info.weight_bytes);
  description.set_kv_cache_bytes(info.kv_bytes);
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

absl::StatusOr<ServerModel> LoadModel(const ServerConfig& config, const Clock* clock) {
  // Before the weights, which can take minutes: what is wrong here is said at once.
  EngineOptions options = config.engine;
  GLIMPSE_ASSIGN_OR_RETURN(std::unique_ptr<Tokenizer> tokenizer, LoadTokenizer(options.model_dir));
  GLIMPSE_ASSIGN_OR_RETURN(ChatTemplate chat_template, ChatTemplate::Create(*tokenizer));

  Progress progress(clock, isatty(STDERR_FILENO) != 0);
  options.progress = [&](int64_t done, int64_t total) {
    progress.Update(done, total);
    config.engine.progress(done, total);
  };
  GLIMPSE_ASSIGN_OR_RETURN(std::unique_ptr<Engine> engine, Engine::Create(options));
  std::fprintf(stderr, "steps run on %s: %s\n", engine->info().device.c_str(),
               engine->info().execution.c_str());
  std::fprintf(stderr, "memory (GiB): %s\n", engine->memory().DebugString().c_str());

  ServerModel model;
  model.limits = engine->limits();
  model.served = std::make_unique<ServedModel>(std::move(tokenizer), std::move(chat_template),
                                               engine->limits(), config.images);
  model.default_sampling = engine->info().default_sampling;
  model.description = Describe(engine->info());
  model.reload = [engine = engine.get()] { return engine->Reload(); };
  model.publish = [engine = engine.get()](Metrics& metrics) {
    metrics.OnEngine(engine->graph_stats(), engine->memory());
  };
  model.runner = std::move(engine);
  return model;
}

}  // namespace
}  // namespace glimpse

int main(int argc, char** argv) {
  return glimpse::ServerMain(argc, argv,
                             "serves a GLM-4V checkpoint over gRPC\n  glimpse-server --model=DIR",
                             glimpse::LoadModel);
}
