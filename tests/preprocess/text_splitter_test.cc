#include "preprocess/text_splitter.h"

#include <catch2/catch.hpp>
#include <random>

#include "tests/preprocess/tokenizer_fixture.h"

namespace glimpse {
namespace {

using Pieces = std::vector<std::string>;

Pieces Split(const TextSplitter& splitter, std::string_view text) {
  Pieces pieces;
  PieceReader reader(splitter, text);
  std::string_view piece;
  while (reader.Next(&piece)) pieces.emplace_back(piece);
  REQUIRE(reader.status().ok());
  return pieces;
}

Pieces Split(std::string_view text) { return Split(TextSplitter::Create().value(), text); }

TEST_CASE("text is split into contractions, words, digits, marks and white space") {
  CHECK(Split("").empty());
  CHECK(Split("I'll SHE'S it'\u017F") == Pieces{"I", "'ll", " SHE", "'S", " it", "'\u017F"});
  CHECK(Split("12345 6") == Pieces{"123", "45", " ", "6"});
  CHECK(Split("a,b (c)!\n\nd") == Pieces{"a", ",b", " (", "c", ")!\n\n", "d"});
  CHECK(Split("a  b") == Pieces{"a", " ", " b"});
  CHECK(Split("a \r\n  b  ") == Pieces{"a", " \r\n", " ", " b", "  "});
  CHECK(Split("\u4E2D\u6587\u3002\u3000\u4E2D") ==
        Pieces{"\u4E2D\u6587", "\u3002", "\u3000\u4E2D"});
}

TEST_CASE("characters that only a newer Unicode knows are letters and digits") {
  CHECK(Split("a\u1C89b") == Pieces{"a\u1C89b"});
  CHECK(Split("\U00031350\U0002EBF0.") == Pieces{"\U00031350\U0002EBF0", "."});
  CHECK(Split("\U00010D40\U00010D41\U00010D42\U00010D43") ==
        Pieces{"\U00010D40\U00010D41\U00010D42", "\U00010D43"});
}

TEST_CASE("the Mongolian vowel separator is no white space") {
  CHECK(Split("a \u180E\n") == Pieces{"a", " \u180E\n"});
}

TEST_CASE("the interpreter finds the same pieces as the compiled expression") {
  const TextSplitter compiled = TextSplitter::Create(TextSplitter::Matcher::kCompiled).value();
  const TextSplitter interpreted =
      TextSplitter::Create(TextSplitter::Matcher::kInterpreted).value();
  std::mt19937 random(2);
  for (int round = 0; round < 1000; ++round) {
    const std::string text = RandomText(&random, 60);
    INFO(text);
    REQUIRE(Split(compiled, text) == Split(interpreted, text));
  }
}

TEST_CASE("long runs meet no limit of the matcher") {
  using Matcher = TextSplitter::Matcher;
  for (const Matcher matcher : {Matcher::kCompiled, Matcher::kInterpreted}) {
    const TextSplitter splitter = TextSplitter::Create(matcher).value();
    const std::string spaces(12'000'000, ' ');  // more than PCRE2's own limit of 10^7 steps
    const Pieces pieces = Split(splitter, spaces + "x");
    REQUIRE(pieces.size() == 2);
    CHECK(pieces[0].size() == spaces.size() - 1);
    CHECK(pieces[1] == " x");
    CHECK(Split(splitter, std::string(12'000'000, 'x')).size() == 1);
  }
}

}  // namespace
}  // namespace glimpse
