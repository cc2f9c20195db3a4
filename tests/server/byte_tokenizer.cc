#include "tests/server/byte_tokenizer.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "absl/strings/escaping.h"
#include "preprocess/check.h"

namespace glimpse {
namespace {

constexpr const char* kSpecials[] = {"<|endoftext|>",      "[gMASK]",         "<sop>",
                                     "<|system|>",         "<|user|>",        "<|assistant|>",
                                     "<|begin_of_image|>", "<|end_of_image|>"};

}  // namespace

ByteTokenizerFiles::ByteTokenizerFiles() {
  std::string pattern = (std::filesystem::temp_directory_path() / "byte_tokenizer_XXXXXX").string();
  GLIMPSE_CHECK(mkdtemp(pattern.data()) != nullptr, "no temporary directory");
  directory_ = pattern;
  std::ofstream vocabulary(directory_ + "/tokenizer.model");
  for (int byte = 0; byte < 256; ++byte) {
    const char text = static_cast<char>(byte);
    vocabulary << absl::Base64Escape(absl::string_view(&text, 1)) << " " << byte << "\n";
  }
  std::ofstream config(directory_ + "/tokenizer_config.json");
  config << "{\"added_tokens_decoder\": {";
  int id = kEndOfText;
  for (const char* name : kSpecials) {
    config << (id == kEndOfText ? "" : ", ") << "\"" << id << "\": {\"content\": \"" << name
           << "\", \"special\": true}";
    ++id;
  }
  config << "}}";
}

ByteTokenizerFiles::~ByteTokenizerFiles() { std::filesystem::remove_all(directory_); }

const Tokenizer& ByteTokenizer() {
  static const ByteTokenizerFiles files;
  static const absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer =
      Tokenizer::Load(files.directory());
  GLIMPSE_CHECK(tokenizer.ok(), tokenizer.status().ToString().c_str());
  return **tokenizer;
}

std::vector<int32_t> Ids(std::string_view text) {
  std::vector<int32_t> ids;
  for (const char byte : text) ids.push_back(static_cast<uint8_t>(byte));
  return ids;
}

}  // namespace glimpse
