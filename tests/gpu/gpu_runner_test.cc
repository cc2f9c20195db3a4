// The engine on its own kernels: what it gives, against libtorch alone and against itself.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "tests/engine/engine_fixture.h"
#include "tests/gpu/gpu_fixture.h"

namespace glimpse {
namespace {

// Prefill of `count` ids in `slot`, whose blocks are 8 slot and up.
StepPlan PromptPlan(int slot, int count) {
  StepRow row;
  row.slot = slot;
  row.starts = true;
  row.tokens = SomeIds(count, static_cast<uint32_t>(slot + 1));
  for (int i = 0; i < count; ++i) row.positions.push_back(i);
  for (int i = 0; i <= count / 16; ++i) row.blocks.push_back(8 * slot + i);
  return PrefillPlan({row});
}

StepRow NextTokenRow(int slot, int kv_length, int32_t token) {
  StepRow row;
  row.slot = slot;
  row.tokens = {token};
  row.positions = {kv_length};
  row.kv_length = kv_length;
  for (int i = 0; i <= kv_length / 16; ++i) row.blocks.push_back(8 * slot + i);
  return row;
}

double Distance(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, size = 0;
  REQUIRE(a.size() == b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    difference += (a[i] - b[i]) * static_cast<double>(a[i] - b[i]);
    size += b[i] * static_cast<double>(b[i]);
  }
  return std::sqrt(difference / size);
}

std::vector<float> LogitsOf(Engine* engine, const StepPlan& plan) {
  absl::StatusOr<std::vector<float>> logits = engine->Logits(plan);
  INFO(logits.status());
  REQUIRE(logits.ok());
  return *std::move(logits);
}

TEST_CASE("the kernels' logits are as near to float32 as libtorch's in bfloat16") {
  TemporaryDirectory directory;
  WideCheckpoint().Write(directory.path());
  EngineOptions options = WideOptions(directory.path());
  const auto kernels = CreateEngine(options);
  CHECK(kernels->depth() == 2);
  options.kernels = "off";
  const auto library = CreateEngine(options);
  CHECK(library->depth() == 1);
  options.dtype = "float32";
  const auto exact = CreateEngine(options);

  const std::vector<int> lengths = {1, 16, 33, 100};
  std::vector<StepRow> rows;
  for (int slot = 0; slot < 4; ++slot) {
    const StepPlan plan = PromptPlan(slot, lengths[slot]);
    const std::vector<float> want = LogitsOf(exact.get(), plan);
    const double bound = 1.5 * Distance(LogitsOf(library.get(), plan), want);
    CHECK(Distance(LogitsOf(kernels.get(), plan), want) < bound);
    rows.push_back(NextTokenRow(slot, lengths[slot], 5 + slot));
  }
  const StepPlan decode = DecodePlan(rows, 4);
  const std::vector<float> want = LogitsOf(exact.get(), decode);
  const double bound = 1.5 * Distance(LogitsOf(library.get(), decode), want);
  CHECK(Distance(LogitsOf(kernels.get(), decode), want) < bound);
}

TEST_CASE("a row's logits are the same bits alone and among others, whatever stands in padding") {
  TemporaryDirectory directory;
  WideCheckpoint().Write(directory.path());
  const auto engine = CreateEngine(WideOptions(directory.path()));
  std::vector<StepRow> rows;
  for (int slot = 0; slot < 4; ++slot) {
    LogitsOf(engine.get(), PromptPlan(slot, 20 + slot));
    rows.push_back(NextTokenRow(slot, 20 + slot, slot));
  }
  const std::vector<float> together = LogitsOf(engine.get(), DecodePlan(rows, 4));
  StepPlan alone = DecodePlan({rows[0]}, 4);
  CHECK(LogitsOf(engine.get(), alone) == Slice(together, 64, 0));
  for (size_t i = 1; i < alone.rows.size(); ++i) {
    alone.rows[i].tokens = {63};
    alone.rows[i].positions = {99};
    alone.rows[i].kv_length = 77;
    alone.rows[i].blocks = {0, 1, 2, 3, 4};
  }
  CHECK(LogitsOf(engine.get(), alone) == Slice(together, 64, 0));
}

TEST_CASE("graphs change no token, and every step is replayed") {
  TemporaryDirectory directory;
  WideCheckpoint().Write(directory.path());
  EngineOptions options = WideOptions(directory.path());
  const auto with = CreateEngine(options);
  options.graphs = "off";
  const auto without = CreateEngine(options);
  const auto want = Ids(Serve(without.get(), options, MixedPrompts()));
  CHECK(Ids(Serve(with.get(), options, MixedPrompts())) == want);
  CHECK(with->graph_stats().eager_steps.empty());
  CHECK(with->graph_stats().captures > 2);
  CHECK(with->memory().graphs > 0);
  CHECK(without->graph_stats().captures == 0);
  CHECK(without->graph_stats().eager_steps.count({StepKind::kDecode, "off"}) == 1);
}

TEST_CASE("capture at start covers every size that a step can have") {
  TemporaryDirectory directory;
  WideCheckpoint().Write(directory.path());
  EngineOptions options = WideOptions(directory.path());
  options.capture = "eager";
  const auto engine = CreateEngine(options);
  const int64_t captures = engine->graph_stats().captures;
  CHECK(captures == 4 + 9);  // 4, 8, 16, 32 rows for 20 slots; 64, 128, 256, ... 1024 tokens
  Ids(Serve(engine.get(), options, MixedPrompts()));
  CHECK(engine->graph_stats().captures == captures);
  CHECK(engine->graph_stats().eager_steps.empty());
}

TEST_CASE("the same prompts give the same tokens each time, and after a Reload") {
  TemporaryDirectory directory;
  WideCheckpoint().Write(directory.path());
  const EngineOptions options = WideOptions(directory.path());
  const auto engine = CreateEngine(options);
  const auto first = Ids(Serve(engine.get(), options, MixedPrompts()));
  CHECK(Ids(Serve(engine.get(), options, MixedPrompts())) == first);
  REQUIRE(engine->Reload().ok());
  CHECK(engine->graph_stats().captures == 1);  // recorded again, lazily
  CHECK(Ids(Serve(engine.get(), options, MixedPrompts())) == first);

  CheckpointFiles other = WideCheckpoint();
  std::swap(other.Find("transformer.output_layer.weight").bytes,
            other.Find("transformer.embedding.word_embeddings.weight").bytes);
  other.Write(directory.path());
  REQUIRE(engine->Reload().ok());
  CHECK(Ids(Serve(engine.get(), options, MixedPrompts())) != first);
}

TEST_CASE("alternatives come with their tokens, likeliest first") {
  TemporaryDirectory directory;
  WideCheckpoint().Write(directory.path());
  const EngineOptions options = WideOptions(directory.path());
  const auto engine = CreateEngine(options);
  Prompt prompt;
  prompt.length = 9;
  prompt.sampling.temperature = 0;
  Prompt asks = prompt;
  asks.sampling.top_logprobs = 3;
  const std::vector<Answer> answers = Serve(engine.get(), options, {prompt, asks});
  for (const SampledToken& token : answers[0].tokens) CHECK(token.top.empty());
  CHECK(static_cast<int>(answers[1].tokens.size()) == asks.answer);
  for (const SampledToken& token : answers[1].tokens) {
    REQUIRE(token.top.size() == 3);
    CHECK(token.top[0].id == token.id);
    CHECK(token.top[0].logprob == Approx(token.logprob).epsilon(1e-4));
    CHECK(token.top[0].logprob >= token.top[1].logprob);
    CHECK(token.top[1].logprob >= token.top[2].logprob);
  }
}

TEST_CASE("logits that are not finite fail their step and harm no later one") {
  TemporaryDirectory directory;
  CheckpointFiles files = WideCheckpoint();
  // Id 57 occurs in no prompt of Serve: its embedding is poison.
  std::string& bytes = files.Find("transformer.embedding.word_embeddings.weight").bytes;
  for (size_t i = 57 * 64 * 2; i < 58 * 64 * 2; i += 2) bytes[i] = '\xff', bytes[i + 1] = '\x7f';
  files.Write(directory.path());
  const EngineOptions options = WideOptions(directory.path());
  const auto engine = CreateEngine(options);
  StepPlan plan = PromptPlan(0, 4);
  plan.rows[0].tokens[2] = 57;
  plan.rows[0].samples = true;
  CHECK(RunStep(*engine, plan).status().code() == absl::StatusCode::kInternal);
  Prompt prompt;
  prompt.length = 30;
  prompt.sampling.temperature = 0;
  CHECK(Serve(engine.get(), options, {prompt})[0].status.ok());
}

TEST_CASE("memory that is not there is refused with both sizes") {
  TemporaryDirectory directory;
  WideCheckpoint().Write(directory.path());
  EngineOptions options = WideOptions(directory.path());
  options.kv_cache_bytes = int64_t{1} << 50;
  const absl::Status status = Engine::Create(options).status();
  CHECK(status.code() == absl::StatusCode::kResourceExhausted);
  CHECK(status.message().find("1125899906842624 bytes") != std::string::npos);
  CHECK(status.message().find(" are free") != std::string::npos);
}

}  // namespace
}  // namespace glimpse
