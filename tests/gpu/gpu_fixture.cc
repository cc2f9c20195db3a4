#include "tests/gpu/gpu_fixture.h"

#include <catch2/catch.hpp>
#include <utility>

namespace glimpse {

CheckpointFiles WideCheckpoint() {
  nlohmann::json config = SmallConfig();
  config["kv_channels"] = 128;
  config["hidden_size"] = 64;
  config["ffn_hidden_size"] = 128;
  config["torch_dtype"] = "bfloat16";
  return MakeCheckpoint(config);
}

EngineOptions WideOptions(const std::string& model_dir) {
  EngineOptions options;
  options.model_dir = model_dir;
  options.device = "cuda";
  options.max_batch_size = 20;
  options.capture = "lazy";
  return options;
}

std::unique_ptr<Engine> CreateEngine(const EngineOptions& options) {
  absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::Create(options);
  INFO(engine.status());
  REQUIRE(engine.ok());
  return *std::move(engine);
}

}  // namespace glimpse
