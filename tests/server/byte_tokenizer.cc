#include "tests/server/byte_tokenizer.h"

#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "preprocess/chat_template.h"
#include "preprocess/check.h"
#include "preprocess/image_header.h"

namespace glimpse {
namespace {

constexpr const char* kSpecials[] = {"<|endoftext|>",      "[gMASK]",         "<sop>",
                                     "<|system|>",         "<|user|>",        "<|assistant|>",
                                     "<|begin_of_image|>", "<|end_of_image|>"};

}  // namespace

ByteTokenizerFiles::ByteTokenizerFiles() {
  std::string vocabulary;
  for (int byte = 0; byte < 256; ++byte) {
    const char text = static_cast<char>(byte);
    absl::StrAppend(&vocabulary, absl::Base64Escape(absl::string_view(&text, 1)), " ", byte, "\n");
  }
  WriteFile(directory() + "/tokenizer.model", vocabulary);
  std::string entries;
  int id = kEndOfText;
  for (const char* name : kSpecials) {
    absl::StrAppend(&entries, entries.empty() ? "" : ", ", "\"", id++, "\": {\"content\": \"", name,
                    "\", \"special\": true}");
  }
  WriteFile(directory() + "/tokenizer_config.json",
            absl::StrCat("{\"added_tokens_decoder\": {", entries, "}}"));
}

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

std::unique_ptr<ServedModel> MakeServedModel(const ModelLimits& limits) {
  const ByteTokenizerFiles files;
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::Load(files.directory());
  GLIMPSE_CHECK(tokenizer.ok(), tokenizer.status().ToString().c_str());
  absl::StatusOr<ChatTemplate> chat_template = ChatTemplate::Create(**tokenizer);
  GLIMPSE_CHECK(chat_template.ok(), chat_template.status().ToString().c_str());
  return std::make_unique<ServedModel>(*std::move(tokenizer), *std::move(chat_template), limits,
                                       ImageLimits());
}

}  // namespace glimpse
