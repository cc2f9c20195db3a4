// The fake engine has to notice what it is there to notice.
#include "tests/fake_engine.h"

#include <catch2/catch.hpp>
#include <functional>
#include <string>
#include <vector>

#include "preprocess/status_macros.h"
#include "tests/schedule/recording_sink.h"

namespace glimpse {
namespace {

ModelLimits SmallLimits() {
  ModelLimits limits;
  limits.vocabulary_size = 1000003;
  limits.max_context = 64;
  limits.image_rows = 4;
  limits.vision_layers = 3;
  limits.max_batch_size = 2;
  limits.block_size = 2;
  limits.num_blocks = 8;
  return limits;
}

// A picture and two ids, then one decoded token.
struct Steps {
  int depth = 3;
  RgbImage image{1, 1, {9, 8, 7}};
  std::vector<int32_t> prompt = {90, 91, 92, 10, 11};
  StepPlan vision = OneRow(StepKind::kVision);
  StepPlan prefill = OneRow(StepKind::kPrefill);
  StepPlan decode = OneRow(StepKind::kDecode);

  Steps() {
    vision.rows[0].starts = true;
    vision.rows[0].prompt = &prompt;
    vision.rows[0].image = &image;
    vision.end_layer = SmallLimits().vision_layers;
    StepRow& fed = prefill.rows[0];
    fed.tokens = {ImageRow(0), ImageRow(1), ImageRow(2), ImageRow(3), 10, 11};
    fed.positions = {0, 1, 1, 2, 3, 4};
    fed.blocks = {3, 1, 6};
    fed.samples = true;
    StepRow& next = decode.rows[0];
    next.tokens = {kLastToken};
    next.positions = {5};
    next.kv_length = 6;
    next.blocks = {3, 1, 6, 0};
    next.samples = true;
    next.sample_index = 1;
  }

  static StepPlan OneRow(StepKind kind) {
    StepPlan plan;
    plan.kind = kind;
    plan.rows.resize(1);
    plan.rows[0].sequence = 4;
    plan.rows[0].slot = 1;
    plan.rows[0].sampling.temperature = 0;
    plan.num_real_rows = 1;
    plan.bucket = kind == StepKind::kPrefill ? 64 : 1;
    return plan;
  }

  // The decoded token, where as many steps are in flight as `depth` allows.
  absl::StatusOr<int32_t> Answer() const {
    FakeEngine engine(FakeEngineOptions{SmallLimits(), {}, {}, depth});
    int in_flight = 0;
    for (const StepPlan* plan : {&vision, &prefill, &decode}) {
      if (in_flight == depth) {
        GLIMPSE_RETURN_IF_ERROR(engine.Finish().status());
        --in_flight;
      }
      GLIMPSE_RETURN_IF_ERROR(engine.Launch(*plan));
      ++in_flight;
    }
    for (; in_flight > 1; --in_flight) GLIMPSE_RETURN_IF_ERROR(engine.Finish().status());
    GLIMPSE_ASSIGN_OR_RETURN(const StepOutput output, engine.Finish());
    return output.tokens[0].id;
  }
};

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
  const std::vector<int32_t> answer = AnswerAlone(*request, SmallLimits());
  REQUIRE(answer.size() == 3);
  CHECK(*steps.Answer() == answer[1]);
  steps.depth = 1;
  steps.decode.rows[0].tokens[0] = answer[0];
  CHECK(*steps.Answer() == answer[1]);

  ModelLimits limits = SmallLimits();
  limits.stop_ids = {answer[1]};
  CHECK(AnswerAlone(*request, limits) == std::vector<int32_t>{answer[0]});
  request->ignore_stop_ids = true;
  CHECK(AnswerAlone(*request, limits) == answer);
}

TEST_CASE("A slot and a block that a later sequence has had are gone for those before") {
  FakeEngine engine(FakeEngineOptions{SmallLimits(), {}, {}, 4});
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
  FakeEngine engine(FakeEngineOptions{SmallLimits(), {}, {}, 2});
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
  FakeEngine engine(FakeEngineOptions{SmallLimits(), {}, {}, 2});
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
  ModelLimits limits = SmallLimits();
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

// Of the picture in slot `slot`.
struct Slice {
  int slot, first_layer, end_layer;
};

// What the last of the slices comes to.
absl::Status RunSlices(const std::vector<std::vector<Slice>>& steps) {
  FakeEngine engine(FakeEngineOptions{SmallLimits(), {}, {}, 1});
  const Steps values;
  absl::Status status;
  for (const std::vector<Slice>& slices : steps) {
    StepPlan plan = values.vision;
    plan.rows.resize(slices.size(), plan.rows[0]);
    plan.num_real_rows = plan.bucket = static_cast<int>(slices.size());
    for (size_t i = 0; i < slices.size(); ++i) {
      StepRow& row = plan.rows[i];
      row.slot = slices[i].slot;
      row.sequence = 4 + row.slot;
      row.starts = slices[i].first_layer == 0;
      row.prompt = row.starts ? &values.prompt : nullptr;
      plan.first_layer = slices[i].first_layer;
      plan.end_layer = slices[i].end_layer;
    }
    status = RunStep(engine, plan).status();
    if (!status.ok()) return status;
  }
  return status;
}

TEST_CASE("Slices of a tower go on where they ended, with the pictures that they began with") {
  CHECK(RunSlices({{{0, 0, 1}}, {{0, 1, 2}}, {{0, 2, 3}}}).ok());
  CHECK(RunSlices({{{0, 0, 2}, {1, 0, 2}}, {{1, 2, 3}}}).ok());
  const absl::Status gap = absl::InternalError("the layers of the pictures do not go on");
  CHECK(RunSlices({{{0, 0, 1}}, {{0, 2, 3}}}) == gap);
  CHECK(RunSlices({{{0, 0, 2}}, {{0, 1, 3}}}) == gap);
  CHECK(RunSlices({{{0, 0, 1}}, {{1, 0, 2}}, {{0, 1, 3}}}) == gap);
  CHECK(RunSlices({{{0, 0, 1}}, {{0, 1, 3}, {1, 1, 3}}}) ==
        absl::InternalError("a picture joins behind its group's first slice"));
  const absl::Status none = absl::InternalError("a slice of layers that the tower does not have");
  CHECK(RunSlices({{{0, 0, 4}}}) == none);
  CHECK(RunSlices({{{0, 0, 0}}}) == none);
}

TEST_CASE("A picture's rows are there after its last slice and not before") {
  Steps steps;
  FakeEngine engine(FakeEngineOptions{SmallLimits(), {}, {}, 1});
  steps.vision.end_layer = 2;
  REQUIRE(RunStep(engine, steps.vision).ok());
  SECTION("before") {
    CHECK(RunStep(engine, steps.prefill).status() ==
          absl::InternalError("sequence 4: image rows before the vision step"));
  }
  SECTION("after") {
    StepPlan rest = steps.vision;
    rest.rows[0].starts = false;
    rest.rows[0].prompt = nullptr;
    rest.first_layer = 2;
    rest.end_layer = 3;
    REQUIRE(RunStep(engine, rest).ok());
    CHECK(RunStep(engine, steps.prefill).ok());
  }
}

TEST_CASE("A sequence that starts anew goes on with its draws and its repetition penalty") {
  Steps steps;
  for (StepPlan* plan : {&steps.prefill, &steps.decode}) {
    plan->rows[0].sampling.temperature = 1;
    plan->rows[0].sampling.repetition_penalty = 1.5f;
  }
  const int32_t answer = *steps.Answer();
  FakeEngine engine(FakeEngineOptions{SmallLimits(), {}, {}, 1});
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
  FakeEngineOptions options{SmallLimits(), {}, {}, 1};
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
