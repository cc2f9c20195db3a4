#include "preprocess/detokenizer.h"

#include <catch2/catch.hpp>
#include <random>

#include "preprocess/utf8.h"
#include "tests/preprocess/tokenizer_fixture.h"

namespace glimpse {
namespace {

using namespace std::string_view_literals;

struct BrokenText {
  std::string_view bytes;
  std::string_view replaced;  // as Python decodes the bytes with errors="replace"
};

constexpr BrokenText kBrokenTexts[] = {
#include "tests/golden/detokenizer.inc"
};

int32_t ByteId(char byte) { return static_cast<uint8_t>(byte); }  // of the golden vocabulary

TEST_CASE("a character comes out when its last byte is there") {
  const auto tokenizer = LoadGolden();
  Detokenizer detokenizer(*tokenizer);
  CHECK(detokenizer.Push('a') == "a");
  CHECK(detokenizer.Push(0xE4) == "");
  CHECK(detokenizer.Push(0xB8) == "");
  CHECK(detokenizer.Push(0xAD) == "\u4E2D");
  CHECK(detokenizer.Finish() == "");
}

TEST_CASE("special ids and ids outside the vocabulary have no text and interrupt no character") {
  const auto tokenizer = LoadGolden();
  Detokenizer detokenizer(*tokenizer);
  CHECK(detokenizer.Push(0xC3) == "");
  CHECK(detokenizer.Push(*tokenizer->SpecialId("<|user|>")) == "");
  CHECK(detokenizer.Push(999999) == "");
  CHECK(detokenizer.Push(-1) == "");
  CHECK(detokenizer.Push(0xA9) == "\u00E9");
}

TEST_CASE(
    "a character that is never completed is one replacement, and the next text starts afresh") {
  const auto tokenizer = LoadGolden();
  Detokenizer detokenizer(*tokenizer);
  for (const int32_t byte : {0xF0, 0x9F, 0x98}) CHECK(detokenizer.Push(byte) == "");
  CHECK(detokenizer.Finish() == "\uFFFD");
  CHECK(detokenizer.Push(0x80) == "\uFFFD");
  CHECK(detokenizer.Finish() == "");
}

TEST_CASE("broken bytes are replaced as Python replaces them") {
  const auto tokenizer = LoadGolden();
  for (const BrokenText& broken : kBrokenTexts) {
    Detokenizer detokenizer(*tokenizer);
    std::string text;
    for (const char byte : broken.bytes) text += detokenizer.Push(ByteId(byte));
    text += detokenizer.Finish();
    CAPTURE(broken.bytes);
    CHECK(text == broken.replaced);
  }
}

TEST_CASE("whatever the ids, each part is valid and the parts are the whole's text") {
  const auto tokenizer = LoadGolden();
  std::mt19937 random(5);
  for (int round = 0; round < 2000; ++round) {
    Detokenizer by_token(*tokenizer);
    Detokenizer by_byte(*tokenizer);
    std::string parts, whole;
    for (int i = 0; i < 40; ++i) {
      const int32_t id = static_cast<int32_t>(random() % (kGoldenSize + 20));
      const std::string part = by_token.Push(id);
      REQUIRE(IsValidUtf8(part));
      parts += part;
      for (const char byte : tokenizer->TokenBytes(id)) whole += by_byte.Push(ByteId(byte));
    }
    REQUIRE(parts + by_token.Finish() == whole + by_byte.Finish());
  }
}

TEST_CASE("the ids of a text give the text back") {
  const auto tokenizer = LoadGolden();
  std::mt19937 random(6);
  for (int round = 0; round < 1000; ++round) {
    const std::string text = RandomText(&random, 60);
    Detokenizer detokenizer(*tokenizer);
    std::string back;
    const std::vector<int32_t> ids = tokenizer->Encode(text).value();
    for (const int32_t id : ids) back += detokenizer.Push(id);
    REQUIRE(back == text);
    REQUIRE(detokenizer.Finish() == "");
  }
}

}  // namespace
}  // namespace glimpse
