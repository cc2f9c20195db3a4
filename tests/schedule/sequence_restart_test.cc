// Blocks that come one by one, a picture in several steps, and a sequence that starts anew.
#include <catch2/catch.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "tests/schedule/death.h"
#include "tests/schedule/recording_sink.h"
#include "tests/schedule/sequence_fixture.h"

namespace glimpse {
namespace {

using Fixture = SequenceFixture;

TEST_CASE("A sequence lacks blocks as its list grows, and never more than its longest end takes") {
  Fixture fixture;
  Sequence sequence(5, 1, *fixture.pool.Allocate(1), MakeRequest(&fixture.client, {10, 11, 12}, 6),
                    &fixture.limits);  // 9 rows in the end, 4 a block
  CHECK(sequence.BlocksMissing(0) == 0);
  CHECK(sequence.BlocksMissing(1) == 0);
  CHECK(sequence.BlocksMissing(2) == 1);
  CHECK(sequence.BlocksMissing(6) == 2);
  CHECK(sequence.BlocksMissing(1000) == 2);
  CHECK(sequence.rows_to_prefill() == 3);
  Fixture::Step(sequence, 50);
  CHECK(sequence.BlocksMissing(0) == 0);
  CHECK(sequence.rows_to_prefill() == 0);
  Fixture::Step(sequence, 51);
  CHECK(sequence.BlocksMissing(0) == 1);
  sequence.AddBlocks(*fixture.pool.Allocate(1));
  CHECK(sequence.BlocksMissing(0) == 0);
  CHECK(sequence.NextRow(1).blocks.size() == 2);
}

TEST_CASE("A picture in several steps starts with the first and is done with the last") {
  Fixture fixture;
  auto request = MakeRequest(&fixture.client, {10, 11}, 2);
  AddImage(request.get(), 1, 7);
  Sequence sequence = fixture.Start(std::move(request));
  CHECK(sequence.fresh());
  CHECK(sequence.VisionRow().starts);
  CHECK(sequence.VisionRow().prompt != nullptr);
  sequence.Begin();
  CHECK_FALSE(sequence.fresh());
  CHECK(sequence.phase() == Sequence::Phase::kVision);
  const StepRow last = sequence.VisionRow();
  CHECK_FALSE(last.starts);
  CHECK(last.prompt == nullptr);
  sequence.Advance(last);
  CHECK(sequence.phase() == Sequence::Phase::kPrefill);
}

TEST_CASE("A restart feeds everything again and counts on") {
  Fixture fixture;
  auto request = MakeRequest(&fixture.client, {10, 11}, 9);
  AddImage(request.get(), 1, 7);
  Sequence sequence = fixture.Start(std::move(request));
  sequence.Advance(sequence.VisionRow());
  sequence.ImageEncoded(AtMs(3));
  Fixture::Step(sequence, 50, 4);
  Fixture::Step(sequence, 51, 5);
  sequence.Advance(sequence.NextRow(1));
  CHECK_FALSE(sequence.all_known());
  sequence.Preempt();
  CHECK(fixture.pool.num_free() == 10);
  CHECK(sequence.slot() == -1);
  CHECK(sequence.Accept(SampledToken{52, 0, {}}, AtMs(6)) == std::nullopt);
  REQUIRE(sequence.all_known());
  CHECK(sequence.BlocksMissing(0) == 3);  // 8 rows of prompt, 3 of the answer

  sequence.Restart(12, 3, *fixture.pool.Allocate(3));
  CHECK(sequence.number() == 12);
  CHECK(sequence.phase() == Sequence::Phase::kVision);
  CHECK_FALSE(sequence.fresh());
  const StepRow vision = sequence.VisionRow();
  CHECK(vision.starts);
  REQUIRE(vision.prompt != nullptr);
  CHECK(*vision.prompt == std::vector<int32_t>{10, 90, 91, 92, 11, 50, 51, 52});
  CHECK(vision.sample_index == 3);
  CHECK(vision.slot == 3);
  sequence.Advance(vision);
  sequence.ImageEncoded(AtMs(9));
  const StepRow part = sequence.NextRow(9);
  CHECK_FALSE(part.samples);
  CHECK(part.tokens.back() == 50);
  sequence.Advance(part);
  CHECK(sequence.phase() == Sequence::Phase::kPrefill);
  const StepRow rest = sequence.NextRow(9);
  CHECK(rest.tokens == std::vector<int32_t>{51, 52});
  CHECK(rest.positions == std::vector<int32_t>{6, 7});
  CHECK(rest.samples);
  CHECK(rest.sample_index == 3);
  sequence.Advance(rest);
  CHECK(sequence.phase() == Sequence::Phase::kDecode);
  sequence.Accept(SampledToken{53, 0, {}}, AtMs(10));
  sequence.Finish(absl::OkStatus(), FinishReason::kLength, AtMs(11));
  CHECK(fixture.client.ids == std::vector<int32_t>{50, 51, 52, 53});
  CHECK(fixture.client.completion.times.encoded == AtMs(3));
  CHECK(fixture.client.completion.times.first_token == AtMs(4));
}

TEST_CASE("A restart with tokens in flight dies") {
  CHECK(Dies([] {
    Fixture fixture;
    Sequence sequence = fixture.Start(MakeRequest(&fixture.client, {10}, 3));
    sequence.Advance(sequence.NextRow(1));
    sequence.Preempt();
    sequence.Restart(6, 0, {});
  }));
}

}  // namespace
}  // namespace glimpse
