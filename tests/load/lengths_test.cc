#include "bench/load/lengths.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <set>

namespace glimpse::bench {
namespace {

Lengths Parse(const std::string& text) {
  Lengths lengths(1);
  std::string error;
  REQUIRE(AbslParseFlag(text, &lengths, &error));
  return lengths;
}

TEST_CASE("a plain number is always drawn") {
  std::mt19937_64 random(1);
  const Lengths lengths = Parse("512");
  for (int i = 0; i < 10; ++i) CHECK(lengths.Draw(random) == 512);
  CHECK(lengths.most() == 512);
  CHECK(lengths.Mean() == 512);
}

TEST_CASE("a range is drawn evenly, both ends included") {
  std::mt19937_64 random(1);
  const Lengths lengths = Parse("3:6");
  std::multiset<int> drawn;
  for (int i = 0; i < 4000; ++i) drawn.insert(lengths.Draw(random));
  CHECK(*drawn.begin() == 3);
  CHECK(*drawn.rbegin() == 6);
  for (int value = 3; value <= 6; ++value) {
    CHECK(drawn.count(value) > 900);
    CHECK(drawn.count(value) < 1100);
  }
}

TEST_CASE("the exponential form has its mean, and is cut at 1 and its most") {
  std::mt19937_64 random(1);
  const Lengths lengths = Parse("exp:100:400");
  double sum = 0;
  int least = 1000, most = 0;
  for (int i = 0; i < 20000; ++i) {
    const int length = lengths.Draw(random);
    sum += length;
    least = std::min(least, length);
    most = std::max(most, length);
  }
  CHECK(least == 1);
  CHECK(most == 400);
  // Cut at 400, the mean of 100 loses exp(-4) of itself.
  CHECK(sum / 20000 == Approx(98.2).epsilon(0.03));
  CHECK(lengths.Mean() == 100);
}

TEST_CASE("a distribution reads back what it writes") {
  for (const char* text : {"512", "16:1024", "exp:256:2048"}) {
    CHECK(AbslUnparseFlag(Parse(text)) == text);
  }
}

TEST_CASE("what is no distribution is refused") {
  Lengths lengths(1);
  std::string error;
  for (const char* text : {"", "0", "-1", "x", "9:3", "1:2:3", "exp:5", "exp:9:3", "0:4", "1:"}) {
    CAPTURE(text);
    CHECK_FALSE(AbslParseFlag(text, &lengths, &error));
    CHECK_FALSE(error.empty());
  }
}

}  // namespace
}  // namespace glimpse::bench
