#include "engine/schedule/bucket_table.h"

#include <catch2/catch.hpp>

#include "tests/schedule/death.h"

namespace glimpse {
namespace {

TEST_CASE("A step is padded to the smallest size that holds it") {
  const BucketTable table;
  CHECK(table.DecodeRows(1) == 4);
  CHECK(table.DecodeRows(4) == 4);
  CHECK(table.DecodeRows(5) == 8);
  CHECK(table.DecodeRows(33) == 64);
  CHECK(table.PrefillTokens(1) == 64);
  CHECK(table.PrefillTokens(64) == 64);
  CHECK(table.PrefillTokens(65) == 128);
  CHECK(table.PrefillTokens(129) == 256);
  CHECK(table.PrefillTokens(257) == 384);
  CHECK(table.PrefillTokens(897) == 1024);
  CHECK(table.PrefillTokens(1024) == 1024);
}

TEST_CASE("A step beyond the largest size is not padded") {
  const BucketTable table;
  CHECK(table.DecodeRows(65) == 65);
  CHECK(table.PrefillTokens(1025) == 1025);
  CHECK(table.PrefillTokens(1800) == 1800);
  const BucketTable unpadded({}, {});
  CHECK(unpadded.DecodeRows(3) == 3);
  CHECK(unpadded.PrefillTokens(7) == 7);
}

TEST_CASE("Sizes that do not ascend from 1 die") {
  CHECK(Dies([] { BucketTable({4, 4}, {}); }));
  CHECK(Dies([] { BucketTable({8, 4}, {}); }));
  CHECK(Dies([] { BucketTable({}, {0, 4}); }));
  CHECK_FALSE(Dies([] { BucketTable({1}, {1, 2}); }));
}

TEST_CASE("A chunk that pads nothing is the largest size within the room, if there is one") {
  const BucketTable table({4}, {64, 128, 256});
  CHECK(table.PrefillTokensWithin(63) == 63);
  CHECK(table.PrefillTokensWithin(64) == 64);
  CHECK(table.PrefillTokensWithin(200) == 128);
  CHECK(table.PrefillTokensWithin(255) == 128);
  CHECK(table.PrefillTokensWithin(2048) == 2048);
  CHECK(BucketTable({}, {}).PrefillTokensWithin(100) == 100);
}

}  // namespace
}  // namespace glimpse
