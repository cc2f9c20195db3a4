// Small checkpoint directories for the tests of the tokenizer and of what uses it.
#ifndef GLIMPSE_TESTS_PREPROCESS_TOKENIZER_FIXTURE_H_
#define GLIMPSE_TESTS_PREPROCESS_TOKENIZER_FIXTURE_H_

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "preprocess/tokenizer.h"
#include "tests/temporary_directory.h"

namespace glimpse {

inline constexpr int32_t kGoldenSize = 640;  // ordinary ids of the golden vocabulary

// The golden tokenizer.model: ids 0..255 are the bytes, 256.. are merges.
inline std::string GoldenVocabulary() {
  return
#include "tests/golden/tokenizer_vocabulary.inc"
      ;
}

// A tokenizer.model of the given tokens, in their order.
inline std::string VocabularyOf(const std::vector<std::string>& tokens) {
  std::string file;
  for (size_t i = 0; i < tokens.size(); ++i) {
    absl::StrAppend(&file, absl::Base64Escape(tokens[i]), " ", i, "\n");
  }
  return file;
}

inline std::vector<std::string> AllBytes() {
  std::vector<std::string> bytes;
  for (int byte = 0; byte < 256; ++byte) bytes.emplace_back(1, static_cast<char>(byte));
  return bytes;
}

inline std::vector<std::string> SpecialNames() {
  return {"<|endoftext|>",
          "[MASK]",
          "[gMASK]",
          "[sMASK]",
          "<sop>",
          "<eop>",
          "<|system|>",
          "<|user|>",
          "<|assistant|>",
          "<|observation|>",
          "<|begin_of_image|>",
          "<|end_of_image|>",
          "<|begin_of_video|>",
          "<|end_of_video|>"};
}

// A tokenizer_config.json that gives `names` the ids from `first` on.
inline std::string ConfigOf(int32_t first, const std::vector<std::string>& names) {
  std::string entries;
  for (size_t i = 0; i < names.size(); ++i) {
    absl::StrAppend(&entries, i == 0 ? "" : ",\n", "\"", static_cast<size_t>(first) + i,
                    "\": {\"content\": \"", names[i], "\", \"special\": true}");
  }
  return absl::StrCat("{\"added_tokens_decoder\": {\n", entries, "\n}}\n");
}

inline absl::StatusOr<std::unique_ptr<Tokenizer>> LoadFrom(const std::string& vocabulary,
                                                           const std::string& config) {
  const TemporaryDirectory directory;
  WriteFile(directory.path() + "/tokenizer.model", vocabulary);
  WriteFile(directory.path() + "/tokenizer_config.json", config);
  return Tokenizer::Load(directory.path());
}

inline std::unique_ptr<Tokenizer> LoadGolden() {
  return LoadFrom(GoldenVocabulary(), ConfigOf(kGoldenSize, SpecialNames())).value();
}

// Valid UTF-8 of up to `max_characters`, of all lengths of character, with much of what the
// splitting looks at.
inline std::string RandomText(std::mt19937* random, int max_characters) {
  static constexpr std::string_view kParts[] = {"a",           "the",
                                                "'s",          "'LL",
                                                " ",           "  ",
                                                "\n",          "\r\n",
                                                "7",           "123",
                                                ".",           "\xE4\xB8\xAD",
                                                "\xC3\xA9",    "\xF0\x9F\x98\x80",
                                                "\xE3\x80\x80"};
  const auto below = [random](uint32_t bound) {
    return static_cast<uint32_t>((*random)()) % bound;
  };
  std::string text;
  for (uint32_t count = below(static_cast<uint32_t>(max_characters) + 1); count > 0; --count) {
    uint32_t code = below(0x110000);
    if (below(3) != 0 || (code >= 0xD800 && code < 0xE000)) {
      text += kParts[below(std::size(kParts))];
      continue;
    }
    code >>= below(14);
    if (code >= 0xD800 && code < 0xE000) code = 0x2FFF;
    if (code < 0x80) {
      text += static_cast<char>(code);
    } else if (code < 0x800) {
      text += static_cast<char>(0xC0 | code >> 6);
    } else if (code < 0x10000) {
      text += static_cast<char>(0xE0 | code >> 12);
      text += static_cast<char>(0x80 | (code >> 6 & 0x3F));
    } else {
      text += static_cast<char>(0xF0 | code >> 18);
      text += static_cast<char>(0x80 | (code >> 12 & 0x3F));
      text += static_cast<char>(0x80 | (code >> 6 & 0x3F));
    }
    if (code >= 0x80) text += static_cast<char>(0x80 | (code & 0x3F));
  }
  return text;
}

}  // namespace glimpse

#endif  // GLIMPSE_TESTS_PREPROCESS_TOKENIZER_FIXTURE_H_
