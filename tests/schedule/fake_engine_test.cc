// The fake engine has to notice what it is there to notice.
#include "tests/fake_engine.h"

#include <catch2/catch.hpp>
#include <functional>
#include <string>
#include <vector>

#include "tests/schedule/fake_engine_fixture.h"
#include "tests/schedule/recording_sink.h"

namespace glimpse {
namespace {

using Steps = FakeEngineSteps;

TEST_CASE("Everything that a sequence consists of changes the fake answer") {
  const int32_t answer = *Steps().Answer();
  Steps steps;
  CHECK(*steps.Answer() == answer);
  SECTION("an id") { steps.prefill.rows[0].tokens[5] = 12; }
  SECTION("a position") { steps.prefill.rows[0].positions[5] = 5; }
  SECTION("the decode position") { steps.decode.rows[0].positions[0] = 6; }
  SECTION("the order of blocks") { steps.decode.rows[0].blocks = {1, 3, 6, 0}; }
  SECTION("a pixel") { steps.image.pixels[2] = 6; }
  SECTION("the order of image rows") { steps.prefill.rows[0].tokens[1] = ImageRow(2); }
  SECTION("the seed of a sampled answer") {
    steps.decode.rows[0].sampling.temperature = 1;
    const int32_t sampled = *steps.Answer();
    steps.decode.rows[0].sampling.seed = 1;
    CHECK(*steps.Answer() != sampled);
  }
  SECTION("what the repetition penalty counts") {
    steps.decode.rows[0].sampling.repetition_penalty = 1.5f;
    const int32_t penalised = *steps.Answer();
    steps.prompt.push_back(1);
    CHECK(*steps.Answer() != penalised);
  }
  CHECK(*steps.Answer() != answer);
}

TEST_CASE("Greedy fake answers depend on no seed") {
  Steps steps;
  const int32_t answer = *steps.Answer();
  steps.decode.rows[0].sampling.seed = 5;
  CHECK(*steps.Answer() == answer);
}

TEST_CASE("A plan that breaks the rules is refused with the rule") {
  Steps steps;
  std::string text;
  StepRow& fed = steps.prefill.rows[0];
  StepRow& next = steps.decode.rows[0];
  SECTION("slot") {
    fed.slot = 2;
    text = "slot out of range";
  }
  SECTION("block id") {
    fed.blocks[0] = 8;
    text = "block out of range";
  }
  SECTION("block twice") {
    fed.blocks[0] = 1;
    text = "block taken twice";
  }
  SECTION("blocks missing") {
    next.blocks.pop_back();
    text = "too few blocks";
  }
  SECTION("position missing") {
    fed.positions.pop_back();
    text = "not a position each token";
  }
  SECTION("vocabulary") {
    next.tokens[0] = 1000003;
    text = "id beyond the vocabulary";
  }
  SECTION("a row the picture lacks") {
    fed.tokens[3] = ImageRow(4);
    text = "row beyond the picture";
  }
  SECTION("a block that it did not write") {
    next.blocks[2] = 7;
    text = "the block is another's";
  }
  SECTION("blocks in another order") {
    fed.tokens.pop_back();
    fed.positions.pop_back();
    next.kv_length = 5;
    next.blocks = {6, 1, 3};  // 6 holds one row yet
    text = "a KV row is read before it was written";
  }
  SECTION("a gap in the cache") {
    next.kv_length = 7;
    text = "the KV rows do not go on";
  }
  SECTION("a row fed twice") {
    next.kv_length = 5;
    text = "the KV rows do not go on";
  }
  SECTION("a draw left out") {
    next.sample_index = 2;
    text = "the draws do not go on";
  }
  SECTION("a prompt's last token") {
    fed.tokens[5] = kLastToken;
    text = "kLastToken in a prompt";
  }
  SECTION("no last token") {
    fed.samples = false;
    next.sample_index = 0;
    text = "no token was sampled yet";
  }
  SECTION("an id for a token in flight") {
    next.tokens[0] = 20;
    text = "kLastToken stands for tokens in flight";
  }
  SECTION("no id for a token that is known") {
    steps.depth = 1;
    text = "kLastToken stands for tokens in flight";
  }
  SECTION("another id than the sampled one") {
    steps.depth = 1;
    next.tokens[0] = 20;
    text = "not the token that was sampled last";
  }
  SECTION("another sequence's slot") {
    next.sequence = 5;
    text = "the slot is another's";
  }
  SECTION("prompt missing at the start") {
    steps.vision.rows[0].prompt = nullptr;
    text = "`prompt` goes with `starts`";
  }
  SECTION("slot twice") {
    steps.prefill.rows.push_back(fed);
    steps.prefill.num_real_rows = 2;
    text = "slot taken twice";
  }
  SECTION("padding that is not empty") {
    steps.decode.rows.push_back(next);
    steps.decode.bucket = 2;
    text = "padding rows are not empty";
  }
  SECTION("rows and bucket differ") {
    steps.decode.bucket = 2;
    text = "wrong number of rows";
  }
  const absl::StatusOr<int32_t> answer = steps.Answer();
  CHECK(answer.status().code() == absl::StatusCode::kInternal);
  CHECK_THAT(std::string(answer.status().message()), Catch::Contains(text));
}

TEST_CASE("The naive model agrees with the steps and follows stop ids and max_tokens") {
  Steps steps;
  TestClient client;
  auto request = MakeRequest(&client, {10, 11}, 3);
  AddImage(request.get(), 0, 9);
  request->image = steps.image;
  const std::vector<int32_t> answer = AnswerAlone(*request, FakeEngineLimits());
  REQUIRE(answer.size() == 3);
  CHECK(*steps.Answer() == answer[1]);
  steps.depth = 1;
  steps.decode.rows[0].tokens[0] = answer[0];
  CHECK(*steps.Answer() == answer[1]);

  ModelLimits limits = FakeEngineLimits();
  limits.stop_ids = {answer[1]};
  CHECK(AnswerAlone(*request, limits) == std::vector<int32_t>{answer[0]});
  request->ignore_stop_ids = true;
  CHECK(AnswerAlone(*request, limits) == answer);
}

TEST_CASE("A slot and a block that a later sequence has had are gone for those before") {
  FakeEngine engine(FakeEngineOptions{FakeEngineLimits(), {}, {}, 4});
  Steps steps;
  StepPlan later = steps.prefill;
  later.rows[0].tokens = {10};
  later.rows[0].positions = {0};
  later.rows[0].sequence = 5;
  later.rows[0].starts = true;
  later.rows[0].prompt = &steps.prompt;
  later.rows[0].blocks = {3};
  REQUIRE(engine.Launch(steps.vision).ok());
  REQUIRE(engine.Launch(steps.prefill).ok());
  SECTION("block") {
    later.rows[0].slot = 0;
    REQUIRE(engine.Launch(later).ok());
    CHECK(engine.Launch(steps.decode) == absl::InternalError("sequence 4: the block is another's"));
  }
  SECTION("slot") {
    REQUIRE(engine.Launch(later).ok());
    CHECK(engine.Launch(steps.decode) == absl::InternalError("sequence 4: the slot is another's"));
    CHECK(engine.Launch(steps.vision) ==
          absl::InternalError("sequence 4: the slot has had a later sequence"));
  }
}

TEST_CASE("A fake engine takes as many steps as its depth and finishes them in order") {
  Steps steps;
  steps.prefill.rows[0].sampling.top_logprobs = 2;
  FakeEngine engine(FakeEngineOptions{FakeEngineLimits(), {}, {}, 2});
  CHECK(engine.depth() == 2);
  CHECK(engine.Finish().status() == absl::InternalError("no step is in flight"));
  REQUIRE(engine.Launch(steps.vision).ok());
  REQUIRE(engine.Launch(steps.prefill).ok());
  CHECK(engine.Launch(steps.decode) ==
        absl::InternalError("more steps in flight than the depth allows"));
  CHECK(engine.Finish()->tokens[0].top.empty());
  CHECK(engine.Finish()->tokens[0].top.size() == 2);
}

TEST_CASE("A fake step fails when told to") {
  FakeEngine engine(FakeEngineOptions{FakeEngineLimits(), {}, {}, 2});
  Steps steps;
  REQUIRE(RunStep(engine, steps.vision).ok());
  SECTION("at its launch, and then its slot is nobody's") {
    engine.FailLaunch(1, absl::InternalError("told to"));
    CHECK(engine.Launch(steps.prefill) == absl::InternalError("told to"));
    CHECK(engine.Launch(steps.decode) == absl::InternalError("sequence 4: the slot is another's"));
  }
  SECTION("at its end, and then what was launched behind it is a ghost") {
    engine.FailFinish(1, absl::InternalError("told to"));
    REQUIRE(engine.Launch(steps.prefill).ok());
    REQUIRE(engine.Launch(steps.decode).ok());
    CHECK(engine.Finish().status() == absl::InternalError("told to"));
    CHECK(engine.Finish()->tokens[0].id == kGhostToken);
  }
}

TEST_CASE("A script sets the fake answer, and every launch is told of") {
  ModelLimits limits = FakeEngineLimits();
  limits.stop_ids = {2};
  int launches = 0;
  FakeEngine engine(
      FakeEngineOptions{limits, {70, 71}, [&launches](const StepPlan&) { ++launches; }});
  Steps steps;
  REQUIRE(RunStep(engine, steps.vision).ok());
  CHECK(RunStep(engine, steps.prefill)->tokens[0].id == 70);
  StepRow& row = steps.decode.rows[0];
  row.tokens = {70};
  CHECK(RunStep(engine, steps.decode)->tokens[0].id == 71);
  row.tokens = {71};
  row.kv_length = 7;
  row.sample_index = 2;
  CHECK(RunStep(engine, steps.decode)->tokens[0].id == 2);
  CHECK(engine.num_steps() == 4);
  CHECK(launches == 4);
}

TEST_CASE("A sequence that starts anew goes on with its draws and its repetition penalty") {
  Steps steps;
  for (StepPlan* plan : {&steps.prefill, &steps.decode}) {
    plan->rows[0].sampling.temperature = 1;
    plan->rows[0].sampling.repetition_penalty = 1.5f;
  }
  const int32_t answer = *steps.Answer();
  FakeEngine engine(FakeEngineOptions{FakeEngineLimits(), {}, {}, 1});
  REQUIRE(RunStep(engine, steps.vision).ok());
  const int32_t first = RunStep(engine, steps.prefill)->tokens[0].id;

  std::vector<int32_t> known = steps.prompt;
  known.push_back(first);
  StepPlan vision = steps.vision;
  StepPlan prefill = steps.prefill;
  vision.rows[0].sequence = prefill.rows[0].sequence = 9;
  vision.rows[0].prompt = &known;
  vision.rows[0].sample_index = prefill.rows[0].sample_index = 1;
  prefill.rows[0].tokens.push_back(first);
  prefill.rows[0].positions.push_back(5);
  prefill.rows[0].blocks = {2, 4, 5, 7};
  REQUIRE(RunStep(engine, vision).ok());
  CHECK(RunStep(engine, prefill)->tokens[0].id == answer);
}

TEST_CASE("A broken fake device launches nothing, and upkeep ends") {
  FakeEngineOptions options{FakeEngineLimits(), {}, {}, 1};
  options.upkeep = 2;
  FakeEngine engine(options);
  CHECK(engine.Upkeep());
  CHECK(engine.Upkeep());
  CHECK_FALSE(engine.Upkeep());
  CHECK(engine.num_upkeeps() == 3);

  Steps steps;
  CHECK_FALSE(engine.broken());
  REQUIRE(RunStep(engine, steps.vision).ok());
  engine.Break();
  CHECK(engine.broken());
  CHECK(engine.Launch(steps.prefill) == absl::InternalError("the device is broken"));
}

}  // namespace
}  // namespace glimpse
