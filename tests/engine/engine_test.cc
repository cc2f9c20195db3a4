// The engine as its callers see it: what it tells of the model, what it refuses, what a step
// returns.
#include "engine/engine.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>

#include "tests/engine/engine_fixture.h"

namespace glimpse {
namespace {

absl::StatusCode CodeOf(const EngineOptions& options) {
  return Engine::Create(options).status().code();
}

int32_t ArgMax(const std::vector<float>& values) {
  return static_cast<int32_t>(std::max_element(values.begin(), values.end()) - values.begin());
}

TEST_CASE("limits and description come from the checkpoint and the options") {
  SmallEngine engine;
  const ModelLimits& limits = engine->limits();
  CHECK(limits.vocabulary_size == 64);
  CHECK(limits.max_context == 128);
  CHECK(limits.image_size == 56);
  CHECK(limits.image_rows == 6);
  CHECK(limits.stop_ids == std::vector<int32_t>{58, 59, 60});
  CHECK(limits.max_batch_size == 4);
  CHECK(limits.num_blocks * limits.block_size == 4 * 128);

  const ModelInfo& info = engine->info();
  CHECK(info.dtype == "float32");
  CHECK(info.weight_bytes == 4 * info.parameters);
  CHECK(info.quantization == "none");
  CHECK(info.default_sampling.temperature == 0.8f);
  CHECK(info.default_sampling.top_p == 0.8f);
  // Two layers of keys and values, 2 heads of 8 float32; two blocks more than the scheduler's.
  CHECK(info.kv_bytes == int64_t{2} * 2 * 2 * 8 * 4 * limits.block_size * (limits.num_blocks + 2));
}

TEST_CASE("loading tells its progress up to the last byte") {
  TemporaryDirectory directory;
  SmallCheckpoint().Write(directory.path());
  EngineOptions options = TestOptions(directory.path());
  std::vector<int64_t> done;
  int64_t total = 0;
  options.progress = [&](int64_t done_now, int64_t total_now) {
    done.push_back(done_now);
    total = total_now;
  };
  const auto engine = Engine::Create(options);
  REQUIRE(engine.ok());
  CHECK(std::is_sorted(done.begin(), done.end()));
  REQUIRE(!done.empty());
  CHECK(done.back() == total);
  CHECK(total == (*engine)->info().weight_bytes);
}

TEST_CASE("dummy weights need config.json alone and give finite logits") {
  TemporaryDirectory directory;
  WriteFile(directory.path() + "/config.json", SmallConfig().dump());
  EngineOptions options = TestOptions(directory.path());
  CHECK(CodeOf(options) == absl::StatusCode::kNotFound);
  options.load_format = LoadFormat::kDummy;
  const auto engine = Engine::Create(options);
  REQUIRE(engine.ok());
  StepRow row;
  row.slot = 0;
  row.starts = true;
  row.tokens = {1, 2, 3};
  row.positions = {0, 1, 2};
  row.blocks = {0};
  const auto logits = (*engine)->Logits(PrefillPlan({row}));
  REQUIRE(logits.ok());
  const auto [low, high] = std::minmax_element(logits->begin(), logits->end());
  CHECK(std::isfinite(*low));
  CHECK(std::isfinite(*high));
  CHECK(*high - *low > 0.1f);
}

TEST_CASE("options out of range are refused") {
  TemporaryDirectory directory;
  SmallCheckpoint().Write(directory.path());
  EngineOptions options = TestOptions(directory.path());
  SECTION("a context beyond the model's") { options.max_context = 129; }
  SECTION("an unknown type") { options.dtype = "int7"; }
  SECTION("an unknown device") { options.device = "tpu"; }
  SECTION("no slot") { options.max_batch_size = 0; }
  SECTION("a cache smaller than a block") { options.kv_cache_bytes = 100; }
  SECTION("a size, before the weights are looked for") {
    std::filesystem::remove(directory.path() + "/model.safetensors.index.json");
    options.max_context = 129;
  }
  CHECK(CodeOf(options) == absl::StatusCode::kInvalidArgument);
}

TEST_CASE("a KV cache larger than the memory is refused, with both sizes") {
  TemporaryDirectory directory;
  SmallCheckpoint().Write(directory.path());
  EngineOptions options = TestOptions(directory.path());
  options.kv_cache_bytes = int64_t{1} << 50;
  const absl::Status status = Engine::Create(options).status();
  CHECK(status.code() == absl::StatusCode::kResourceExhausted);
  CHECK(status.message().find("1125899906842624 bytes") != std::string::npos);
}

TEST_CASE("weights larger than the memory are refused before they are loaded, with both sizes") {
  TemporaryDirectory directory;
  nlohmann::json config = SmallConfig(/*with_vision=*/false);
  config["padded_vocab_size"] = 1 << 22;
  config["hidden_size"] = 1 << 17;
  WriteFile(directory.path() + "/config.json", config.dump());
  EngineOptions options = TestOptions(directory.path());
  options.load_format = LoadFormat::kDummy;
  options.device = "cpu";
  const absl::Status status = Engine::Create(options).status();
  CHECK(status.code() == absl::StatusCode::kResourceExhausted);
  // Embedding and output layer alone are 2^41 bytes each.
  CHECK(status.message().find("the weights take 43") == 0);
  CHECK(status.message().find(" as float32, but ") != std::string::npos);
}

TEST_CASE("a small KV cache shortens the context to what it holds") {
  TemporaryDirectory directory;
  SmallCheckpoint().Write(directory.path());
  EngineOptions options = TestOptions(directory.path());
  options.kv_cache_bytes = int64_t{2} * 2 * 2 * 8 * 4 * 16 * 3;  // three blocks
  const auto engine = Engine::Create(options);
  REQUIRE(engine.ok());
  CHECK((*engine)->limits().num_blocks == 3);
  CHECK((*engine)->limits().max_context == 48);
}

TEST_CASE("Reload takes the weights that the files hold now, and refuses another model's") {
  TemporaryDirectory directory;
  CheckpointFiles files = SmallCheckpoint();
  files.Write(directory.path());
  EngineOptions options = TestOptions(directory.path());
  bool created = false;
  options.progress = [&](int64_t, int64_t) { CHECK(!created); };  // the caller's may be gone then
  const auto engine = Engine::Create(options);
  REQUIRE(engine.ok());
  created = true;
  StepRow row;
  row.slot = 0;
  row.starts = true;
  row.tokens = SomeIds(5, 1);
  row.positions = {0, 1, 2, 3, 4};
  row.blocks = {0};
  const StepPlan plan = PrefillPlan({row});
  const std::vector<float> before = (*engine)->Logits(plan).value();

  std::swap(files.Find("transformer.output_layer.weight").bytes,
            files.Find("transformer.embedding.word_embeddings.weight").bytes);
  files.Write(directory.path());
  REQUIRE((*engine)->Reload().ok());
  const std::vector<float> after = (*engine)->Logits(plan).value();
  CHECK(Deviation(after, before) > 0.1);

  nlohmann::json config = SmallConfig();
  config["seq_length"] = 64;
  WriteFile(directory.path() + "/config.json", config.dump());
  CHECK((*engine)->Reload().code() == absl::StatusCode::kInvalidArgument);
  CHECK((*engine)->Logits(plan).value() == after);
}

TEST_CASE("a text-only checkpoint serves text and refuses pictures") {
  SmallEngine engine(/*with_vision=*/false);
  CHECK(engine->limits().image_size == 0);
  CHECK(engine->limits().image_rows == 0);
  CHECK(LogitsInOneStep(&engine, 0, SomeIds(5, 1)).size() == 5 * 64);

  const RgbImage image{56, 56, std::vector<uint8_t>(56 * 56 * 3)};
  StepPlan plan;
  plan.kind = StepKind::kVision;
  plan.rows.resize(1);
  plan.rows[0].slot = 0;
  plan.rows[0].image = &image;
  plan.num_real_rows = plan.bucket = 1;
  CHECK(RunStep(*engine, plan).status().code() == absl::StatusCode::kInvalidArgument);
}

TEST_CASE("a step's greedy tokens are those that the logits of the whole text name") {
  SmallEngine engine;
  const auto blocks = engine.blocks().Allocate(3);
  std::vector<int32_t> ids = SomeIds(9, 3);
  StepRow row;
  row.slot = 2;
  row.starts = true;
  row.samples = true;
  row.tokens = ids;
  for (const BlockHandle& block : *blocks) row.blocks.push_back(block.id());
  row.prompt = &ids;
  row.sampling.temperature = 0;
  for (int i = 0; i < 9; ++i) row.positions.push_back(i);
  StepPlan plan = PrefillPlan({row});
  std::vector<int32_t> text = ids;
  for (int step = 0; step < 20; ++step) {
    const auto output = RunStep(*engine, plan);
    REQUIRE(output.ok());
    REQUIRE(output->tokens.size() == 1);
    const std::vector<float> logits = LogitsInOneStep(&engine, 0, text);
    REQUIRE(output->tokens[0].id == ArgMax(Slice(logits, 64, text.size() - 1)));
    text.push_back(output->tokens[0].id);
    row.starts = false;
    row.prompt = nullptr;
    row.kv_length = static_cast<int>(text.size()) - 1;
    row.tokens = {text.back()};
    row.positions = {row.kv_length};
    plan = DecodePlan({row});
  }
}

TEST_CASE("rows that do not sample yet still have an entry in a step's output") {
  SmallEngine engine;
  Walker chunked(&engine, 0, SomeIds(12, 1)), whole(&engine, 1, SomeIds(7, 2));
  const auto output = RunStep(*engine, PrefillPlan({chunked.Next(5), whole.Next(7)}));
  REQUIRE(output.ok());
  REQUIRE(output->tokens.size() == 2);
  const std::vector<float> logits = LogitsInOneStep(&engine, 2, SomeIds(7, 2));
  CHECK(output->tokens[1].id == ArgMax(Slice(logits, 64, 6)));
}

}  // namespace
}  // namespace glimpse
