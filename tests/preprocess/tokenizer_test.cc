#include "preprocess/tokenizer.h"

#include <sys/stat.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <random>
#include <thread>

#include "tests/preprocess/tokenizer_fixture.h"

namespace glimpse {
namespace {

using namespace std::string_view_literals;

struct GoldenText {
  std::string_view text;
  std::vector<int32_t> ids;
};

const GoldenText kGoldenTexts[] = {
#include "tests/golden/tokenizer.inc"
};

std::string BytesOf(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  std::string bytes;
  for (const int32_t id : ids) bytes += tokenizer.TokenBytes(id);
  return bytes;
}

void CheckRefused(const std::string& vocabulary, const std::string& config,
                  const std::string& message) {
  const auto tokenizer = LoadFrom(vocabulary, config);
  INFO(message);
  REQUIRE_FALSE(tokenizer.ok());
  CHECK(tokenizer.status().code() == absl::StatusCode::kInvalidArgument);
  CHECK_THAT(std::string(tokenizer.status().message()), Catch::Contains(message));
}

// tokenizer.model with its line `number` (from 1) replaced.
std::string WithLine(const std::string& file, int number, const std::string& line) {
  size_t begin = 0;
  for (int i = 1; i < number; ++i) begin = file.find('\n', begin) + 1;
  std::string changed = file;
  return changed.replace(begin, file.find('\n', begin) + 1 - begin, line);
}

TEST_CASE("texts get the ids that tiktoken gives them") {
  const auto tokenizer = LoadGolden();
  for (const GoldenText& golden : kGoldenTexts) {
    INFO(golden.text);
    CHECK(tokenizer->Encode(golden.text).value() == golden.ids);
  }
}

TEST_CASE("special tokens have an id and a name but no bytes, and ordinary ones no name") {
  const auto tokenizer = LoadGolden();
  CHECK(tokenizer->SpecialId("<|endoftext|>") == 640);
  CHECK(tokenizer->SpecialId("<|user|>") == 647);
  CHECK(tokenizer->SpecialName(647) == "<|user|>");
  CHECK(tokenizer->TokenBytes(647).empty());
  CHECK(tokenizer->SpecialName(65).empty());
  CHECK(tokenizer->TokenBytes(65) == "A");
  CHECK_FALSE(tokenizer->SpecialId("A").has_value());
  CHECK(tokenizer->vocabulary_size() == 654);
}

TEST_CASE("ids outside the vocabulary have neither bytes nor name") {
  const auto tokenizer = LoadGolden();
  for (const int32_t id : {-1, 654, 151551, INT32_MIN, INT32_MAX}) {
    CHECK(tokenizer->TokenBytes(id).empty());
    CHECK(tokenizer->SpecialName(id).empty());
  }
}

TEST_CASE("special tokens that a user types stay plain text") {
  const auto tokenizer = LoadGolden();
  for (const std::string& name : SpecialNames()) {
    const std::vector<int32_t> ids = tokenizer->Encode(name).value();
    CHECK(BytesOf(*tokenizer, ids) == name);
    CHECK(*std::max_element(ids.begin(), ids.end()) < kGoldenSize);
  }
}

TEST_CASE("text that is not valid UTF-8 is refused with the place") {
  const auto tokenizer = LoadGolden();
  const std::string_view broken[] = {"abc\xFF", "abc\xE4\xB8", "abc\xC0\xAF", "abc\xED\xA0\x80",
                                     "abc\xF4\x90\x80\x80"};
  for (const std::string_view text : broken) {
    const auto ids = tokenizer->Encode(text);
    REQUIRE_FALSE(ids.ok());
    CHECK(ids.status() == absl::InvalidArgumentError("not valid UTF-8 at byte 3"));
  }
  CHECK(tokenizer->Encode("a\0b"sv).value() == std::vector<int32_t>{97, 0, 98});
}

TEST_CASE("the bytes of a text's ids are the text") {
  const auto tokenizer = LoadGolden();
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    const std::string text = RandomText(&random, 60);
    INFO(text);
    REQUIRE(BytesOf(*tokenizer, tokenizer->Encode(text).value()) == text);
  }
}

TEST_CASE("a megabyte without a border is encoded") {
  const auto tokenizer = LoadGolden();
  for (const std::string_view unit : {" ", "a", "\n", "=", "7", "\u3000", "\u4E2D", "\U0001F600"}) {
    std::string text;
    while (text.size() < (1 << 20)) text += unit;
    INFO(unit);
    CHECK((BytesOf(*tokenizer, tokenizer->Encode(text).value()) == text));
    text += 'x';
    CHECK((BytesOf(*tokenizer, tokenizer->Encode(text).value()) == text));
  }
}

TEST_CASE("threads share a tokenizer") {
  const auto tokenizer = LoadGolden();
  std::vector<int> wrong(4);
  std::vector<std::thread> threads;
  for (int& count : wrong) {
    threads.emplace_back([&] {
      for (int round = 0; round < 20; ++round) {
        for (const GoldenText& golden : kGoldenTexts) {
          count += tokenizer->Encode(golden.text).value() != golden.ids;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == std::vector<int>(4));
}

TEST_CASE("a missing file is named") {
  const TemporaryDirectory directory;
  const auto no_model = Tokenizer::Load(directory.path());
  CHECK(no_model.status().code() == absl::StatusCode::kNotFound);
  CHECK_THAT(std::string(no_model.status().message()), Catch::Contains("tokenizer.model"));
  WriteFile(directory.path() + "/tokenizer.model", GoldenVocabulary());
  const auto no_config = Tokenizer::Load(directory.path());
  CHECK(no_config.status().code() == absl::StatusCode::kNotFound);
  CHECK_THAT(std::string(no_config.status().message()), Catch::Contains("tokenizer_config.json"));
}

TEST_CASE("a pipe or a directory in the place of a file is refused at once") {
  const TemporaryDirectory directory;
  const std::string path = directory.path() + "/tokenizer.model";
  const absl::Status refusal = absl::InvalidArgumentError(path + ": not a regular file");
  SECTION("pipe") { REQUIRE(mkfifo(path.c_str(), 0600) == 0); }
  SECTION("directory") { REQUIRE(std::filesystem::create_directory(path)); }
  CHECK(Tokenizer::Load(directory.path()).status() == refusal);
}

TEST_CASE("a broken tokenizer.model is refused with its line") {
  const std::string config = ConfigOf(kGoldenSize, SpecialNames());
  const std::string good = GoldenVocabulary();
  CheckRefused("", config, "tokenizer.model: no line has the single byte 0");
  CheckRefused(WithLine(good, 300, ""), config, "tokenizer.model:300: expected rank 299");
  CheckRefused(WithLine(good, 300, "\n"), config, "tokenizer.model:300: expected base64, a space");
  CheckRefused(WithLine(good, 300, "QUJDRA==\n"), config, "tokenizer.model:300: expected base64");
  CheckRefused(WithLine(good, 300, "QUJDRA== 298\n"), config, ":300: expected rank 299");
  CheckRefused(WithLine(good, 300, "QUJDRA== 0299\n"), config, ":300: expected rank 299");
  CheckRefused(WithLine(good, 300, "QUJDRA== 299 \n"), config, ":300: expected rank 299");
  CheckRefused(WithLine(good, 300, "QUJDRA 299\n"), config, ":300: bad base64");
  CheckRefused(WithLine(good, 300, "QUJDRB== 299\n"), config, ":300: bad base64");
  CheckRefused(WithLine(good, 300, "QU*D 299\n"), config, ":300: bad base64");
  CheckRefused(WithLine(good, 300, " 299\n"), config, ":300: bad base64");
  CheckRefused(WithLine(good, 300, "QQ== 299\n"), config, ":300: the same bytes as line 66");
  CheckRefused(WithLine(good, 66, "QUJDRA== 65\n"), config,
               "tokenizer.model: no line has the single byte 65");
}

TEST_CASE("a tokenizer.model without a final line end is complete") {
  std::string vocabulary = GoldenVocabulary();
  vocabulary.pop_back();
  CHECK(LoadFrom(vocabulary, ConfigOf(kGoldenSize, SpecialNames())).value()->vocabulary_size() ==
        654);
}

TEST_CASE("a tokenizer.model beyond the size limit is refused") {
  CheckRefused(std::string((64 << 20) + 1, 'x'), "{}", "tokenizer.model: larger than the limit");
}

TEST_CASE("a broken tokenizer_config.json is refused with its line or entry") {
  const std::string model = GoldenVocabulary();
  CheckRefused(model, "{\n\"added_tokens_decoder\": {\n,}}",
               "tokenizer_config.json:3: malformed JSON");
  CheckRefused(model, "", "tokenizer_config.json:1: malformed JSON");
  CheckRefused(model, std::string(100000, '['), "tokenizer_config.json:1: malformed JSON");
  CheckRefused(model, "{\"a\": 1e999}", "tokenizer_config.json: a number is out of range");
  CheckRefused(model, "[]", "tokenizer_config.json: no object \"added_tokens_decoder\"");
  CheckRefused(model, R"({"added_tokens_decoder": []})", "no object \"added_tokens_decoder\"");
  CheckRefused(model, ConfigOf(639, {"a", "b"}), "added_tokens_decoder[\"639\"]: the ids must be");
  CheckRefused(model, ConfigOf(641, {"a", "b"}), "[\"642\"]: the ids must be those after");
  CheckRefused(model, R"({"added_tokens_decoder": {"x": {"content": "a"}}})", "[\"x\"]: not an id");
  CheckRefused(model, R"({"added_tokens_decoder": {"0640": {"content": "a"}}})", "not an id");
  CheckRefused(model, R"({"added_tokens_decoder": {"640": "a"}})",
               "[\"640\"]: no string \"content\"");
  CheckRefused(model, R"({"added_tokens_decoder": {"640": {"content": 7}}})", "no string");
  CheckRefused(model, R"({"added_tokens_decoder": {"640": {"content": ""}}})", "is empty");
  CheckRefused(model, ConfigOf(640, {"a", "b", "a"}), "added_tokens_decoder gives \"a\" two ids");
}

}  // namespace
}  // namespace glimpse
