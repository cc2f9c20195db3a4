// What must hold whichever way a prompt goes through the engine.
#include <catch2/catch.hpp>
#include <limits>

#include "tests/engine/engine_fixture.h"

namespace glimpse {
namespace {

constexpr double kTolerance =
    1e-5;  // of the logits' spread, float32; only the order of sums differs
constexpr size_t kVocabulary = 64;

std::vector<float> LastRow(const std::vector<float>& logits) {
  return Slice(logits, kVocabulary, logits.size() / kVocabulary - 1);
}

TEST_CASE("decoding rows of different lengths in one padded batch gives what each gives alone") {
  SmallEngine engine;
  const std::vector<std::vector<int32_t>> texts = {SomeIds(3, 1), SomeIds(33, 2), SomeIds(90, 3)};
  const std::vector<int> image_at = {-1, 4, -1};
  std::vector<Walker> walkers;
  std::vector<StepRow> rows;
  for (int i = 0; i < 3; ++i) {
    walkers.emplace_back(&engine, i, texts[i], image_at[i], uint8_t{40});
    walkers[i].Prefill(walkers[i].rows_left() - 1);
    rows.push_back(walkers[i].Next(1));
  }
  const auto logits = engine->Logits(DecodePlan(rows));
  REQUIRE(logits.ok());
  REQUIRE(logits->size() == 3 * kVocabulary);
  for (int i = 0; i < 3; ++i) {
    const std::vector<float> batched = Slice(*logits, kVocabulary, static_cast<size_t>(i));
    CHECK(Deviation(batched, walkers[i].Decode()) < kTolerance);
    const std::vector<float> full = LogitsInOneStep(&engine, 3, texts[i], image_at[i], 40);
    CHECK(Deviation(batched, LastRow(full)) < kTolerance);
  }
}

TEST_CASE("prompts packed into one prefill step give what each gives alone") {
  SmallEngine engine;
  Walker first(&engine, 0, SomeIds(17, 1)), second(&engine, 1, SomeIds(40, 2), 3, 90),
      third(&engine, 2, SomeIds(30, 3));
  second.EncodeImage();
  third.Prefill(16);  // comes in with a cached beginning
  const auto logits =
      engine->Logits(PrefillPlan({first.Next(17), second.Next(46), third.Next(14)}));
  REQUIRE(logits.ok());
  REQUIRE(logits->size() == (17 + 46 + 14) * kVocabulary);
  CHECK(Deviation(Slice(*logits, kVocabulary, 0, 17), LogitsInOneStep(&engine, 3, SomeIds(17, 1))) <
        kTolerance);
  CHECK(Deviation(Slice(*logits, kVocabulary, 17, 46),
                  LogitsInOneStep(&engine, 3, SomeIds(40, 2), 3, 90)) < kTolerance);
  CHECK(Deviation(Slice(*logits, kVocabulary, 63, 14),
                  Slice(LogitsInOneStep(&engine, 3, SomeIds(30, 3)), kVocabulary, 16, 14)) <
        kTolerance);
}

TEST_CASE("a prompt in chunks gives what it gives whole, wherever the cuts fall") {
  SmallEngine engine;
  const std::vector<int32_t> ids = SomeIds(50, 4);
  const std::vector<float> whole = LogitsInOneStep(&engine, 0, ids, 6, 10);
  const int chunk = GENERATE(1, 4, 7, 16, 55);
  Walker walker(&engine, 1, ids, 6, 10);
  std::vector<float> pieces;
  while (walker.rows_left() > 0) {
    const std::vector<float> piece = walker.Prefill(chunk);
    pieces.insert(pieces.end(), piece.begin(), piece.end());
  }
  CHECK(Deviation(pieces, whole) < kTolerance);
}

TEST_CASE("a picture in slices, with others' steps between them, gives what it gives whole") {
  SmallEngine engine;
  const std::vector<float> whole = LogitsInOneStep(&engine, 3, SomeIds(20, 1), 4, 90);
  Walker stays(&engine, 0, SomeIds(20, 1), 4, 90), ends(&engine, 1, SomeIds(9, 2), 2, 30),
      text(&engine, 2, SomeIds(30, 3));
  std::vector<StepRow> rows = {ends.VisionRow(), stays.VisionRow()};
  REQUIRE(RunStep(*engine, VisionPlan(rows, 0, 1)).ok());
  text.Prefill(25);
  text.Decode();
  rows.erase(rows.begin());
  rows[0].starts = false;
  REQUIRE(RunStep(*engine, VisionPlan(rows, 1, 2)).ok());
  stays.Encoded(rows[0]);
  CHECK(Deviation(stays.Prefill(stays.rows_left()), whole) < kTolerance);
  CHECK(Deviation(text.Decode(), Slice(LogitsInOneStep(&engine, 3, SomeIds(30, 3)), kVocabulary,
                                       26)) < kTolerance);
}

TEST_CASE("decoding step by step gives what one full forward gives") {
  SmallEngine engine;
  const std::vector<int32_t> ids = SomeIds(60, 5);
  const std::vector<float> whole = LogitsInOneStep(&engine, 0, ids, 2, 200);
  Walker walker(&engine, 1, ids, 2, 200);
  std::vector<float> steps = walker.Prefill(12);
  while (walker.rows_left() > 0) {
    const std::vector<float> step = walker.Decode();
    steps.insert(steps.end(), step.begin(), step.end());
  }
  CHECK(Deviation(steps, whole) < kTolerance);
}

TEST_CASE("what stands in padding rows changes no bit of the real ones") {
  SmallEngine engine;
  Walker walker(&engine, 0, SomeIds(20, 6)), other(&engine, 1, SomeIds(20, 7));
  walker.Prefill(19);
  other.Prefill(19);
  StepPlan plan = DecodePlan({walker.Next(1)});
  const auto before = engine->Logits(plan);
  REQUIRE(before.ok());
  for (size_t i = 1; i < plan.rows.size(); ++i) {
    StepRow row = other.Next(1);
    row.slot = -1;
    row.tokens = {static_cast<int32_t>(31 + i)};
    row.positions = {static_cast<int32_t>(i)};
    row.sampling.top_logprobs = 5;
    row.samples = true;
    plan.rows[i] = row;
  }
  const auto after = engine->Logits(plan);
  REQUIRE(after.ok());
  CHECK(*after == *before);
  // Nor did they write into the other sequence's cache.
  CHECK(Deviation(other.Decode(), LastRow(LogitsInOneStep(&engine, 2, SomeIds(20, 7)))) <
        kTolerance);
}

TEST_CASE("a slot and its blocks keep nothing of the sequence before") {
  SmallEngine engine;
  const std::vector<float> fresh = LogitsInOneStep(&engine, 0, SomeIds(30, 8), 5, 120);
  LogitsInOneStep(&engine, 0, SomeIds(100, 9), 50, 7);
  CHECK(LogitsInOneStep(&engine, 0, SomeIds(30, 8), 5, 120) == fresh);
}

TEST_CASE("a picture changes what comes after it and nothing before") {
  SmallEngine engine;
  const std::vector<float> dark = LogitsInOneStep(&engine, 0, SomeIds(20, 10), 8, 10);
  const std::vector<float> light = LogitsInOneStep(&engine, 0, SomeIds(20, 10), 8, 150);
  CHECK(Deviation(Slice(dark, kVocabulary, 0, 8), Slice(light, kVocabulary, 0, 8)) < kTolerance);
  CHECK(Deviation(LastRow(dark), LastRow(light)) > 100 * kTolerance);
}

TEST_CASE("the patch rows share one rotary position") {
  SmallEngine engine;
  Walker shared(&engine, 0, SomeIds(10, 11), 2, 60), counted(&engine, 1, SomeIds(10, 11), 2, 60);
  shared.EncodeImage();
  counted.EncodeImage();
  StepRow row = counted.Next(16);
  CHECK(row.positions == std::vector<int32_t>{0, 1, 2, 3, 3, 3, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12});
  for (int i = 0; i < 16; ++i) row.positions[i] = i;
  const auto other = engine->Logits(PrefillPlan({row}));
  REQUIRE(other.ok());
  CHECK(Deviation(shared.Prefill(16), *other) > 100 * kTolerance);
}

TEST_CASE("every type on this device stays near float32 on the CPU") {
  SmallEngine exact(/*with_vision=*/true, "float32", "cpu");
  const std::vector<float> logits = LogitsInOneStep(&exact, 0, SomeIds(40, 12), 5, 80);
  const auto [dtype, bytes, tolerance] = GENERATE(table<std::string, int, double>(
      {{"float32", 4, kTolerance}, {"bfloat16", 2, 0.04}, {"float16", 2, 0.005}}));
  SmallEngine engine(/*with_vision=*/true, dtype);
  CHECK(engine->info().dtype == dtype);
  CHECK(engine->info().weight_bytes == bytes * engine->info().parameters);
  const double deviation = Deviation(LogitsInOneStep(&engine, 0, SomeIds(40, 12), 5, 80), logits);
  CHECK(deviation < tolerance);
  if (bytes == 2) CHECK(deviation > kTolerance);  // it is not float32 after all
}

}  // namespace
}  // namespace glimpse
