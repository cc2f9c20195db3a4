#include "preprocess/tokenizer.h"

#include <algorithm>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "preprocess/byte_pair.h"
#include "preprocess/read_file.h"
#include "preprocess/status_macros.h"
#include "preprocess/utf8.h"

namespace glimpse {
namespace {

using nlohmann::json;

constexpr size_t kMaxConfigBytes = size_t{4} << 20;

absl::StatusOr<json> ReadJson(const std::string& path) {
  GLIMPSE_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxConfigBytes));
  try {
    return json::parse(text);
  } catch (const json::parse_error& error) {
    const size_t read = std::min(error.byte, text.size());
    const auto line =
        std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(read), '\n');
    return absl::InvalidArgumentError(absl::StrCat(path, ":", line + 1, ": malformed JSON"));
  } catch (const json::out_of_range&) {  // 1e999; it comes without a place
    return absl::InvalidArgumentError(path + ": a number is out of range");
  }
}

// One entry of added_tokens_decoder, e.g. "151329": {"content": "<|endoftext|>", ...}, goes to its
// place in `names`, whose first is the id `first`.
absl::Status PlaceName(const std::string& key, const json& value, int32_t first,
                       std::vector<std::string>* names) {
  int64_t id = 0;
  if (!absl::SimpleAtoi(key, &id) || key != std::to_string(id)) {
    return absl::InvalidArgumentError("not an id");
  }
  if (id < first || id - first >= static_cast<int64_t>(names->size())) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the ids must be those after tokenizer.model's: ", first, "..", first + names->size() - 1));
  }
  if (!value.is_object() || !value.contains("content") || !value["content"].is_string()) {
    return absl::InvalidArgumentError("no string \"content\"");
  }
  const std::string content = value["content"];
  if (content.empty()) return absl::InvalidArgumentError("\"content\" is empty");
  (*names)[static_cast<size_t>(id - first)] = content;
  return absl::OkStatus();
}

absl::Status CheckDistinct(std::vector<std::string> names, const std::string& path) {
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice == names.end()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": added_tokens_decoder gives \"", *twice, "\" two ids"));
}

absl::StatusOr<std::vector<std::string>> ReadSpecialNames(const std::string& path, int32_t first) {
  GLIMPSE_ASSIGN_OR_RETURN(const json config, ReadJson(path));
  if (!config.is_object() || !config.contains("added_tokens_decoder") ||
      !config["added_tokens_decoder"].is_object()) {
    return absl::InvalidArgumentError(path + ": no object \"added_tokens_decoder\"");
  }
  const json& entries = config["added_tokens_decoder"];
  std::vector<std::string> names(entries.size());
  for (const auto& [key, value] : entries.items()) {
    const absl::Status placed = PlaceName(key, value, first, &names);
    if (!placed.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": added_tokens_decoder[\"", key, "\"]: ", placed.message()));
    }
  }
  GLIMPSE_RETURN_IF_ERROR(CheckDistinct(names, path));
  return names;
}

}  // namespace

Tokenizer::Tokenizer(Vocabulary vocabulary, std::vector<std::string> special_names,
                     TextSplitter splitter)
    : vocabulary_(std::move(vocabulary)),
      special_names_(std::move(special_names)),
      splitter_(std::move(splitter)) {}

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Load(const std::string& model_dir) {
  GLIMPSE_ASSIGN_OR_RETURN(Vocabulary vocabulary, Vocabulary::Load(model_dir + "/tokenizer.model"));
  GLIMPSE_ASSIGN_OR_RETURN(
      std::vector<std::string> special_names,
      ReadSpecialNames(model_dir + "/tokenizer_config.json", vocabulary.size()));
  GLIMPSE_ASSIGN_OR_RETURN(TextSplitter splitter, TextSplitter::Create());
  return std::unique_ptr<Tokenizer>(
      new Tokenizer(std::move(vocabulary), std::move(special_names), std::move(splitter)));
}

absl::StatusOr<std::vector<int32_t>> Tokenizer::Encode(std::string_view utf8) const {
  if (utf8.size() > kMaxMergedBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("a text of ", utf8.size(), " bytes; the limit is ", kMaxMergedBytes));
  }
  const size_t valid = ValidUtf8Length(utf8);
  if (valid != utf8.size()) {
    return absl::InvalidArgumentError(absl::StrCat("not valid UTF-8 at byte ", valid));
  }
  std::vector<int32_t> ids;
  ids.reserve(utf8.size() / 3);
  PieceReader reader(splitter_, utf8);
  std::string_view piece;
  while (reader.Next(&piece)) AppendIds(vocabulary_, piece, &ids);
  GLIMPSE_RETURN_IF_ERROR(reader.status());
  return ids;
}

std::optional<int32_t> Tokenizer::SpecialId(std::string_view name) const {
  const auto found = std::find(special_names_.begin(), special_names_.end(), name);
  if (found == special_names_.end()) return std::nullopt;
  return vocabulary_.size() + static_cast<int32_t>(found - special_names_.begin());
}

std::string_view Tokenizer::SpecialName(int32_t id) const {
  if (id < vocabulary_.size() || id >= vocabulary_size()) return {};
  return special_names_[static_cast<size_t>(id - vocabulary_.size())];
}

}  // namespace glimpse
