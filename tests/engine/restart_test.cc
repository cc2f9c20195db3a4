// Requests that give up their slot and KV blocks and start anew, on a real engine: encoded again,
// and fed prompt and answer, they go on as if nothing had happened.
#include <catch2/catch.hpp>
#include <memory>
#include <utility>

#include "tests/engine/engine_fixture.h"
#include "tests/engine/serving_fixture.h"

namespace glimpse {
namespace {

// Of a block of two layers of keys and values, 16 rows of 2 heads of 8 float32.
constexpr int64_t kBlockBytes = 2 * 2 * 16 * 2 * 8 * 4;

// Short prompts with long answers: more start than go to the end together. By turns greedy and
// random, with and without a penalty for what prompt and answer have said.
std::vector<Prompt> Prompts() {
  std::vector<Prompt> prompts;
  for (int i = 0; i < 10; ++i) {
    Prompt prompt;
    prompt.number = i;
    prompt.length = 3 + 2 * i;
    prompt.has_picture = i % 3 != 2;
    prompt.answer = 45 - i;
    prompt.sampling.temperature = i % 2 == 0 ? 0.0f : 0.8f;
    prompt.sampling.repetition_penalty = i % 4 < 2 ? 1.3f : 1.0f;
    prompt.sampling.seed = static_cast<uint64_t>(i);
    prompts.push_back(prompt);
  }
  return prompts;
}

std::vector<std::vector<int32_t>> ServeWith(int64_t kv_cache_bytes, ServingEvents* events) {
  TemporaryDirectory directory;
  SmallCheckpoint().Write(directory.path());
  EngineOptions options = TestOptions(directory.path());
  options.kv_cache_bytes = kv_cache_bytes;
  absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::Create(options);
  INFO(engine.status());
  REQUIRE(engine.ok());
  return Ids(Serve(engine->get(), options, Prompts(), events));
}

TEST_CASE("requests that were preempted answer what they answer undisturbed") {
  ServingEvents roomy, tight;
  const std::vector<std::vector<int32_t>> expected = ServeWith(0, &roomy);
  const std::vector<std::vector<int32_t>> actual = ServeWith(8 * kBlockBytes, &tight);
  CHECK(roomy.preemptions == 0);
  CHECK(tight.preemptions > 0);
  CHECK(tight.moved_pictures > 0);
  const std::vector<Prompt> prompts = Prompts();
  REQUIRE(actual.size() == prompts.size());
  for (size_t i = 0; i < prompts.size(); ++i) {
    CAPTURE(i);
    CHECK(static_cast<int>(actual[i].size()) == prompts[i].answer);
    CHECK(actual[i] == expected[i]);
  }
}

}  // namespace
}  // namespace glimpse
