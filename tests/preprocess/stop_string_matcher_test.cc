#include "preprocess/stop_string_matcher.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <optional>
#include <random>

namespace glimpse {
namespace {

using Strings = std::vector<std::string>;

// What stands before the match that ends first (the longest of those): nothing if none.
std::optional<std::string> CutNaively(const std::string& text, const Strings& stops) {
  for (size_t end = 1; end <= text.size(); ++end) {
    size_t longest = 0;
    for (const std::string& stop : stops) {
      const bool ends_here =
          stop.size() <= end && text.compare(end - stop.size(), stop.size(), stop) == 0;
      if (ends_here) longest = std::max(longest, stop.size());
    }
    if (longest > 0) return text.substr(0, end - longest);
  }
  return std::nullopt;
}

// How much of the end of `text` a stop string could start with.
size_t HeldNaively(const std::string& text, const Strings& stops) {
  size_t held = 0;
  for (const std::string& stop : stops) {
    for (size_t length = 1; length < stop.size() && length <= text.size(); ++length) {
      const bool starts = text.compare(text.size() - length, length, stop, 0, length) == 0;
      if (starts) held = std::max(held, length);
    }
  }
  return held;
}

std::string RandomWord(std::mt19937* random, uint32_t max_length) {
  std::string word;
  for (uint32_t length = 1 + (*random)() % max_length; length > 0; --length) {
    word += static_cast<char>('a' + (*random)() % 2);
  }
  return word;
}

TEST_CASE("what may become a stop string is held back, and cut when it does") {
  StopStringMatcher matcher({"\nUser:"});
  CHECK(matcher.Push("Yes.\nUs") == "Yes.");
  CHECK_FALSE(matcher.matched());
  CHECK(matcher.Push("er: and?") == "");
  CHECK(matcher.matched());
  CHECK(matcher.Push("more") == "");
  CHECK(matcher.Finish() == "");
}

TEST_CASE("what was held back comes out when it becomes something else, or at the end") {
  StopStringMatcher matcher({"stop"});
  CHECK(matcher.Push("sto") == "");
  CHECK(matcher.Push("re st") == "store ");
  CHECK(matcher.Finish() == "st");
  CHECK_FALSE(matcher.matched());
}

TEST_CASE("a stop string is found across a false start") {
  StopStringMatcher matcher({"aab"});
  CHECK(matcher.Push("aa") == "");
  CHECK(matcher.Push("a") == "a");
  CHECK(matcher.Push("b") == "");
  CHECK(matcher.matched());
}

TEST_CASE("without stop strings, or with empty ones, all text passes at once") {
  StopStringMatcher none({});
  StopStringMatcher empty({""});
  CHECK(none.Push("text") == "text");
  CHECK(empty.Push("text") == "text");
  CHECK_FALSE(empty.matched());
}

TEST_CASE("text is held back by whole characters") {
  StopStringMatcher matcher({"\u4E2D\u6587"});
  CHECK(matcher.Push("\u4E2E") == "\u4E2E");  // the same first two bytes
  CHECK(matcher.Push("\u4E2D") == "");
  CHECK(matcher.Push("\u4E2D\u6587") == "\u4E2D");
  CHECK(matcher.matched());
}

TEST_CASE("any text in any pieces gives what a plain search gives") {
  std::mt19937 random(7);
  for (int round = 0; round < 5000; ++round) {
    Strings stops;
    for (uint32_t count = random() % 5; count > 0; --count) stops.push_back(RandomWord(&random, 7));
    StopStringMatcher matcher(stops);
    std::string text, out;
    while (text.size() < 40) {
      const std::string piece = RandomWord(&random, 6);
      text += piece;
      out += matcher.Push(piece);
      const std::optional<std::string> cut = CutNaively(text, stops);
      REQUIRE(matcher.matched() == cut.has_value());
      REQUIRE(out == (cut ? *cut : text.substr(0, text.size() - HeldNaively(text, stops))));
    }
    const std::optional<std::string> cut = CutNaively(text, stops);
    REQUIRE(out + matcher.Finish() == (cut ? *cut : text));
  }
}

}  // namespace
}  // namespace glimpse
