#include "engine/schedule/sequence.h"

#include <catch2/catch.hpp>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/schedule/death.h"
#include "tests/schedule/recording_sink.h"
#include "tests/schedule/sequence_fixture.h"

namespace glimpse {
namespace {

using Fixture = SequenceFixture;

TEST_CASE("A prompt is fed in chunks, with its place in the cache, and the last one samples") {
  Fixture fixture;
  const Sequence started = fixture.Start(MakeRequest(&fixture.client, {10, 11, 12, 13, 14, 15}, 4));
  CHECK(started.phase() == Sequence::Phase::kPrefill);

  Sequence sequence = fixture.Start(MakeRequest(&fixture.client, {10, 11, 12, 13, 14, 15}, 4));
  const StepRow first = sequence.NextRow(4);
  CHECK(first.sequence == 5);
  CHECK(first.slot == 1);
  CHECK(first.starts);
  REQUIRE(first.prompt != nullptr);
  CHECK(*first.prompt == std::vector<int32_t>{10, 11, 12, 13, 14, 15});
  CHECK_FALSE(first.samples);
  CHECK(first.tokens == std::vector<int32_t>{10, 11, 12, 13});
  CHECK(first.positions == std::vector<int32_t>{0, 1, 2, 3});
  CHECK(first.kv_length == 0);
  CHECK(first.blocks.size() == 1);
  CHECK(sequence.NextRow(4).tokens == first.tokens);  // asking moves nothing

  sequence.Advance(first);
  const StepRow second = sequence.NextRow(4);
  CHECK_FALSE(second.starts);
  CHECK(second.prompt == nullptr);
  CHECK(second.samples);
  CHECK(second.sample_index == 0);
  CHECK(second.tokens == std::vector<int32_t>{14, 15});
  CHECK(second.positions == std::vector<int32_t>{4, 5});
  CHECK(second.kv_length == 4);
  CHECK(second.blocks.size() == 2);
  CHECK(second.blocks[0] == first.blocks[0]);
}

TEST_CASE("A decode row feeds the token sampled last, behind the cache") {
  Fixture fixture;
  Sequence sequence = fixture.Start(MakeRequest(&fixture.client, {10, 11, 12}, 4));
  CHECK(Fixture::Step(sequence, 50) == std::nullopt);
  CHECK(sequence.phase() == Sequence::Phase::kDecode);
  StepRow row = sequence.NextRow(1);
  CHECK(row.tokens == std::vector<int32_t>{50});
  CHECK(row.positions == std::vector<int32_t>{3});
  CHECK(row.kv_length == 3);
  CHECK(row.samples);
  CHECK(row.sample_index == 1);
  CHECK(row.blocks.size() == 1);
  CHECK(Fixture::Step(sequence, 51) == std::nullopt);
  row = sequence.NextRow(1);
  CHECK(row.positions == std::vector<int32_t>{4});
  CHECK(row.sample_index == 2);
  CHECK(row.blocks.size() == 2);
}

TEST_CASE("A picture is encoded first and its rows stand in the prompt at one position") {
  Fixture fixture;
  auto request = MakeRequest(&fixture.client, {10, 11, 12}, 4);
  AddImage(request.get(), 2, 77);
  Sequence sequence = fixture.Start(std::move(request));
  CHECK(sequence.phase() == Sequence::Phase::kVision);
  const StepRow vision = sequence.VisionRow();
  CHECK(vision.starts);
  CHECK(vision.prompt != nullptr);
  CHECK(vision.tokens.empty());
  REQUIRE(vision.image != nullptr);
  CHECK(vision.image->pixels[0] == 77);
  CHECK(sequence.phase() == Sequence::Phase::kVision);

  sequence.Advance(vision);
  CHECK(sequence.phase() == Sequence::Phase::kPrefill);
  const StepRow row = sequence.NextRow(100);
  CHECK_FALSE(row.starts);
  CHECK(row.image == nullptr);
  CHECK(row.tokens == std::vector<int32_t>{10, 11, ImageRow(0), ImageRow(1), ImageRow(2),
                                           ImageRow(3), ImageRow(4), ImageRow(5), 12});
  CHECK(row.positions == std::vector<int32_t>{0, 1, 2, 3, 3, 3, 3, 4, 5});

  CHECK(Fixture::Step(sequence, 50) == std::nullopt);
  CHECK(sequence.NextRow(1).kv_length == 9);
  CHECK(sequence.NextRow(1).positions == std::vector<int32_t>{6});
}

TEST_CASE("A picture at the start of the prompt, cut by chunks, keeps its positions") {
  Fixture fixture;
  auto request = MakeRequest(&fixture.client, {12}, 1);
  AddImage(request.get(), 0, 1);
  Sequence sequence = fixture.Start(std::move(request));
  sequence.Advance(sequence.VisionRow());
  sequence.Advance(sequence.NextRow(4));
  CHECK(sequence.NextRow(2).tokens == std::vector<int32_t>{ImageRow(4), ImageRow(5)});
  CHECK(sequence.NextRow(2).positions == std::vector<int32_t>{1, 2});
  CHECK_FALSE(sequence.NextRow(2).samples);
}

TEST_CASE("An answer ends at a stop id, which is counted but not pushed") {
  Fixture fixture;
  Sequence sequence = fixture.Start(MakeRequest(&fixture.client, {10}, 4));
  CHECK(Fixture::Step(sequence, 50, 7) == std::nullopt);
  CHECK(Fixture::Step(sequence, 3, 9) == FinishReason::kStop);
  sequence.Finish(absl::OkStatus(), FinishReason::kStop, AtMs(9));
  CHECK(fixture.client.ids == std::vector<int32_t>{50});
  CHECK(fixture.client.num_finishes == 1);
  CHECK(fixture.client.completion.completion_tokens == 2);
  CHECK(fixture.client.completion.reason == FinishReason::kStop);
  CHECK(fixture.client.completion.times.first_token == AtMs(7));
  CHECK(fixture.client.completion.times.finished == AtMs(9));
  CHECK(fixture.pool.num_free() == 10);
}

TEST_CASE("Steps are planned ahead of the tokens, as far as max_tokens") {
  Fixture fixture;
  auto request = MakeRequest(&fixture.client, {10, 11}, 3);
  AddImage(request.get(), 1, 77);
  Sequence sequence = fixture.Start(std::move(request));
  sequence.Advance(sequence.VisionRow());
  sequence.Advance(sequence.NextRow(100));
  CHECK(sequence.phase() == Sequence::Phase::kDecode);
  const StepRow second = sequence.NextRow(1);
  CHECK(second.tokens == std::vector<int32_t>{kLastToken});
  CHECK(second.positions == std::vector<int32_t>{5});
  CHECK(second.kv_length == 8);
  CHECK(second.blocks.size() == 3);
  CHECK(second.sample_index == 1);
  CHECK(second.samples);

  sequence.ImageEncoded(AtMs(2));
  CHECK(sequence.Accept(SampledToken{50, 0, {}}, AtMs(3)) == std::nullopt);
  CHECK(sequence.NextRow(1).tokens == std::vector<int32_t>{50});  // known in time after all
  sequence.Advance(second);
  const StepRow third = sequence.NextRow(1);
  CHECK(third.tokens == std::vector<int32_t>{kLastToken});
  CHECK(third.kv_length == 9);
  CHECK(third.sample_index == 2);
  sequence.Advance(third);
  CHECK(sequence.phase() == Sequence::Phase::kPlanned);
  CHECK(sequence.Accept(SampledToken{51, 0, {}}, AtMs(4)) == std::nullopt);
  CHECK(sequence.phase() == Sequence::Phase::kPlanned);
  CHECK(sequence.Accept(SampledToken{52, 0, {}}, AtMs(5)) == FinishReason::kLength);
  sequence.Finish(absl::OkStatus(), FinishReason::kLength, AtMs(5));
  CHECK(fixture.client.ids == std::vector<int32_t>{50, 51, 52});
  CHECK(fixture.client.completion.times.encoded == AtMs(2));
  CHECK(fixture.client.completion.times.first_token == AtMs(3));
}

TEST_CASE("A sequence that ends with tokens in flight counts those that came") {
  Fixture fixture;
  Sequence sequence = fixture.Start(MakeRequest(&fixture.client, {10}, 5));
  CHECK(Fixture::Step(sequence, 50) == std::nullopt);
  sequence.Advance(sequence.NextRow(1));
  sequence.Advance(sequence.NextRow(1));
  sequence.Finish(absl::CancelledError(""), FinishReason::kStop, AtMs(1));
  CHECK(fixture.client.completion.completion_tokens == 1);
  CHECK(fixture.pool.num_free() == 10);
}

TEST_CASE("Tokens that no step was to sample and rows that are not there die") {
  CHECK(Dies([] {
    Fixture fixture;
    Sequence sequence = fixture.Start(MakeRequest(&fixture.client, {10}, 5));
    sequence.Accept(SampledToken{50, 0, {}}, AtMs(0));
  }));
  CHECK(Dies([] {
    Fixture fixture;
    Sequence sequence = fixture.Start(MakeRequest(&fixture.client, {10}, 1));
    sequence.Advance(sequence.NextRow(1));
    sequence.NextRow(1);
  }));
}

TEST_CASE("An answer that ignores stop ids runs to max_tokens") {
  Fixture fixture;
  auto request = MakeRequest(&fixture.client, {10}, 2);
  request->ignore_stop_ids = true;
  Sequence sequence = fixture.Start(std::move(request));
  CHECK(Fixture::Step(sequence, 3) == std::nullopt);
  CHECK(Fixture::Step(sequence, 2) == FinishReason::kLength);
  CHECK(fixture.client.ids == std::vector<int32_t>{3, 2});
}

TEST_CASE("An answer ends when its sink has enough") {
  Fixture fixture;
  fixture.client.wants_tokens = 2;
  Sequence sequence = fixture.Start(MakeRequest(&fixture.client, {10}, 2));
  CHECK(Fixture::Step(sequence, 50) == std::nullopt);
  CHECK(Fixture::Step(sequence, 51) == FinishReason::kStopString);
}

TEST_CASE("A request takes its rows, the picture's rows and the answer") {
  const ModelLimits limits = SequenceLimits();
  TestClient client;
  auto request = MakeRequest(&client, {1, 2, 3}, 5);
  CHECK(KvRowsNeeded(*request, limits) == 8);
  CHECK(KvBlocksNeeded(*request, limits) == 2);
  AddImage(request.get(), 1, 0);
  CHECK(KvRowsNeeded(*request, limits) == 14);
  CHECK(KvBlocksNeeded(*request, limits) == 4);
}

TEST_CASE("A request that can never run is told why") {
  ModelLimits limits = SequenceLimits();
  TestClient client;
  auto request = MakeRequest(&client, std::vector<int32_t>(20, 7), 12);
  CHECK(CheckCanRun(*request, limits).ok());
  std::string text;
  SECTION("context") {
    request->max_tokens = 13;
    text = "prompt and answer may take 33 tokens, the limit is 32";
  }
  SECTION("all blocks") {
    limits.num_blocks = 7;
    text = "prompt and answer may take 32 tokens, the limit is 28";
  }
  SECTION("a number that would overflow") {
    request->max_tokens = 2147483647;
    text = "prompt and answer may take 2147483667 tokens, the limit is 32";
  }
  SECTION("nothing asked") {
    request->prompt.clear();
    text = "a prompt and room for one token are needed";
  }
  SECTION("nothing wanted") {
    request->max_tokens = 0;
    text = "a prompt and room for one token are needed";
  }
  SECTION("a picture for a model of text") {
    request->prompt.resize(10);
    AddImage(request.get(), 0, 0);
    CHECK(CheckCanRun(*request, limits).ok());
    limits.image_rows = 0;
    text = "the model takes no pictures";
  }
  SECTION("a picture whose ids are cut off") {
    request->prompt.resize(10);
    AddImage(request.get(), 9, 0);
    request->prompt.resize(11);
    text = "the picture does not match the prompt";
  }
  SECTION("a picture without pixels") {
    request->image_at = 3;
    text = "the picture does not match the prompt";
  }
  CHECK(CheckCanRun(*request, limits) == absl::InvalidArgumentError(text));
}

}  // namespace
}  // namespace glimpse
