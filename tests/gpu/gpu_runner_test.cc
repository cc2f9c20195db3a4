// The engine on its own kernels: what it gives, against libtorch alone and against itself.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "engine/device.h"
#include "engine/graph_policy.h"
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

// A picture of noise, of the small checkpoint's size.
RgbImage Noise(uint32_t seed) {
  RgbImage image{56, 56, std::vector<uint8_t>(56 * 56 * 3)};
  for (uint8_t& value : image.pixels)
    value = static_cast<uint8_t>((seed = seed * 1664525 + 1) >> 24);
  return image;
}

StepRow PictureRow(int64_t sequence, int slot, const RgbImage* image) {
  StepRow row;
  row.sequence = sequence;
  row.slot = slot;
  row.image = image;
  return row;
}

// Two ids, the slot's picture, two ids.
StepPlan PicturePrompt(int slot) {
  StepPlan plan = PromptPlan(slot, 10);
  plan.rows[0].starts = false;
  for (int i = 0; i < 6; ++i) plan.rows[0].tokens[2 + i] = ImageRow(i);
  return plan;
}

void LaunchStep(Engine* engine, const StepPlan& plan) {
  const absl::Status launched = engine->Launch(plan);
  INFO(launched);
  REQUIRE(launched.ok());
}

TEST_CASE("pictures in slices, with two steps in flight, give the bits that they give whole") {
  TemporaryDirectory directory;
  WideCheckpoint().Write(directory.path());
  const auto engine = CreateEngine(WideOptions(directory.path()));
  const RgbImage image_a = Noise(1), image_b = Noise(2), image_c = Noise(3);
  REQUIRE(
      RunStep(*engine, VisionPlan({PictureRow(0, 0, &image_b), PictureRow(1, 1, &image_a)}, 0, 2))
          .ok());
  const std::vector<float> want_a = LogitsOf(engine.get(), PicturePrompt(1));
  REQUIRE(RunStep(*engine, VisionPlan({PictureRow(2, 1, &image_c)}, 0, 2)).ok());
  const std::vector<float> want_c = LogitsOf(engine.get(), PicturePrompt(1));
  CHECK(want_a != want_c);
  LogitsOf(engine.get(), PromptPlan(5, 20));
  const StepPlan decode = DecodePlan({NextTokenRow(5, 20, 3)}, 4);

  const StepRow a = PictureRow(10, 1, &image_a), b = PictureRow(11, 0, &image_b),
                c = PictureRow(12, 2, &image_c);
  LaunchStep(engine.get(), VisionPlan({b, a}, 0, 1));
  LaunchStep(engine.get(), decode);
  REQUIRE(engine->Finish().ok());
  LaunchStep(engine.get(), VisionPlan({a}, 1, 2));  // b has ended
  REQUIRE(engine->Finish().ok());
  LaunchStep(engine.get(), VisionPlan({c}, 0, 1));  // its pixels come while a's last slice runs
  REQUIRE(engine->Finish().ok());
  LaunchStep(engine.get(), VisionPlan({c}, 1, 2));
  REQUIRE(engine->Finish().ok());
  REQUIRE(engine->Finish().ok());
  StepPlan prompt_a = PicturePrompt(1), prompt_c = PicturePrompt(1);
  prompt_c.rows[0].slot = 2;
  CHECK(LogitsOf(engine.get(), prompt_a) == want_a);
  CHECK(LogitsOf(engine.get(), prompt_c) == want_c);
}

// Of steps that all have the same size, so that no rounding differs.
TEST_CASE(
    "in reused slots, beside rows whose sequences have ended, each answers as it does alone") {
  TemporaryDirectory directory;
  WideCheckpoint().Write(directory.path());
  EngineOptions options = WideOptions(directory.path());
  options.max_batch_size = 4;
  options.max_prefill_tokens = 512;
  options.buckets = BucketTable({4}, {512});
  const auto engine = CreateEngine(options);
  REQUIRE(engine->depth() == 2);
  std::vector<Prompt> prompts = MixedPrompts();
  std::vector<Answer> alone;
  for (const Prompt& prompt : prompts) {
    alone.push_back(Serve(engine.get(), options, {prompt})[0]);
    REQUIRE(alone.back().status.ok());
  }
  for (int i = 0; i < 18; ++i) {
    if (i % 3 == 0) prompts[i].stops_after = 2 + i % 4;
    if (i % 3 == 1) prompts[i].gone_after = 1 + i % 4;
  }
  const std::vector<Answer> together = Serve(engine.get(), options, prompts);
  for (int i = 0; i < 18; ++i) {
    INFO("prompt " << i << ": " << together[i].status);
    const bool is_gone = prompts[i].gone_after > 0;
    CHECK(together[i].status.code() ==
          (is_gone ? absl::StatusCode::kCancelled : absl::StatusCode::kOk));
    const std::vector<int32_t> got = together[i].Ids();
    std::vector<int32_t> want = alone[i].Ids();
    if (prompts[i].stops_after > 0) want.resize(prompts[i].stops_after);
    if (is_gone) want.resize(std::min(got.size(), want.size()));  // it may get a step's more
    CHECK(got == want);
  }
}

TEST_CASE("what steps often missed is captured in a quiet moment") {
  TemporaryDirectory directory;
  WideCheckpoint().Write(directory.path());
  EngineOptions options = WideOptions(directory.path());
  options.capture = "decode:4";
  const auto engine = CreateEngine(options);
  CHECK(!engine->Upkeep());
  std::vector<Prompt> prompts = MixedPrompts();
  for (Prompt& prompt : prompts) prompt.answer = 30;
  const auto first = Ids(Serve(engine.get(), options, prompts));
  const GraphStats before = engine->graph_stats();
  CHECK(before.captures == 1);
  const auto missed = [](const GraphStats& stats) {
    return stats.eager_steps.at({StepKind::kDecode, "uncaptured"});
  };
  REQUIRE(missed(before) > kMissesWorthAGraph);

  while (engine->Upkeep()) {
  }
  CHECK(engine->graph_stats().captures > 1);
  const int64_t captures = engine->graph_stats().captures;
  CHECK(Ids(Serve(engine.get(), options, prompts)) == first);
  const GraphStats after = engine->graph_stats();
  CHECK(after.captures == captures);
  CHECK(missed(after) - missed(before) < missed(before));
  CHECK(after.replays.at({StepKind::kDecode, 32}) > kMissesWorthAGraph);
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
  StepPlan plan = PromptPlan(0, 16);
  plan.rows[0].tokens[1] = 57;
  plan.rows[0].samples = true;
  CHECK(RunStep(*engine, plan).status().code() == absl::StatusCode::kInternal);

  // The block is used again, and the poison in its rows from 3 on is not overwritten.
  StepPlan reused = PromptPlan(0, 2);
  StepPlan clean = reused;
  clean.rows[0].slot = 1;
  clean.rows[0].blocks = {8};
  const std::vector<float> logits = LogitsOf(engine.get(), clean);
  CHECK(std::isfinite(*std::max_element(logits.begin(), logits.end())));
  CHECK(LogitsOf(engine.get(), reused) == logits);
  const StepPlan next = DecodePlan({NextTokenRow(0, 2, 5), NextTokenRow(1, 2, 5)}, 4);
  const std::vector<float> next_logits = LogitsOf(engine.get(), next);
  CHECK(Slice(next_logits, 64, 0) == Slice(next_logits, 64, 1));

  Prompt prompt;
  prompt.length = 30;
  prompt.sampling.temperature = 0;
  CHECK(Serve(engine.get(), options, {prompt})[0].status.ok());
}

TEST_CASE("an error that goes away does not make the device a broken one") {
  void* memory = nullptr;
  CHECK(cudaMalloc(&memory, size_t{1} << 60) == cudaErrorMemoryAllocation);
  CHECK(!IsBroken(at::Device("cuda:0")));
  CHECK(cudaGetLastError() == cudaSuccess);  // nor does it reach the next kernel's launch
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
