#include "tools/inspect_tokenizer.h"

#include <chrono>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "preprocess/detokenizer.h"
#include "preprocess/status_macros.h"
#include "preprocess/tokenizer.h"

namespace glimpse {
namespace {

using nlohmann::json;

absl::StatusOr<std::string> ParseText(const std::string& line) {
  const json value = json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!value.is_string()) return absl::InvalidArgumentError("expected a JSON string");
  return value.get<std::string>();
}

absl::StatusOr<std::vector<int32_t>> ParseIds(const std::string& line) {
  const json value = json::parse(line, nullptr, /*allow_exceptions=*/false);
  std::vector<int32_t> ids;
  bool valid = value.is_array();
  for (size_t i = 0; valid && i < value.size(); ++i) {
    valid = value[i].is_number_integer() && value[i] >= 0 && value[i] <= INT32_MAX;
    if (valid) ids.push_back(value[i].get<int32_t>());
  }
  if (!valid) return absl::InvalidArgumentError("expected a JSON array of ids");
  return ids;
}

absl::StatusOr<std::string> TokenizeLine(const Tokenizer& tokenizer, const std::string& line) {
  GLIMPSE_ASSIGN_OR_RETURN(const std::string text, ParseText(line));
  GLIMPSE_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, tokenizer.Encode(text));
  return json(ids).dump();
}

absl::StatusOr<std::string> DetokenizeLine(const Tokenizer& tokenizer, const std::string& line) {
  GLIMPSE_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, ParseIds(line));
  Detokenizer detokenizer(tokenizer);
  std::string text;
  for (const int32_t id : ids) text += detokenizer.Push(id);
  return json(text + detokenizer.Finish()).dump();
}

using LineFunction = absl::StatusOr<std::string> (*)(const Tokenizer&, const std::string&);

absl::Status ForEachLine(const Tokenizer& tokenizer, LineFunction function, std::istream& in,
                         std::ostream& out) {
  std::string line;
  for (int number = 1; std::getline(in, line); ++number) {
    const absl::StatusOr<std::string> answer = function(tokenizer, line);
    if (!answer.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("input line ", number, ": ", answer.status().message()));
    }
    out << *answer << std::endl;  // flushed: the reader may wait for it before its next line
  }
  return absl::OkStatus();
}

// Reads all texts, then encodes all of them `repeat` times and reports the time of that alone.
absl::Status TimeTokenize(const Tokenizer& tokenizer, int repeat, std::istream& in,
                          std::ostream& report) {
  std::vector<std::string> texts;
  size_t bytes = 0;
  for (std::string line; std::getline(in, line);) {
    GLIMPSE_ASSIGN_OR_RETURN(std::string text, ParseText(line));
    bytes += text.size();
    texts.push_back(std::move(text));
  }
  size_t ids = 0;
  const auto start = std::chrono::steady_clock::now();
  for (int round = 0; round < repeat; ++round) {
    for (const std::string& text : texts) {
      GLIMPSE_ASSIGN_OR_RETURN(const std::vector<int32_t> text_ids, tokenizer.Encode(text));
      ids += text_ids.size();
    }
  }
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  report << json({{"texts", texts.size()},
                  {"bytes", bytes},
                  {"repeat", repeat},
                  {"ids", ids},
                  {"seconds", elapsed.count()}})
         << std::endl;
  return absl::OkStatus();
}

// Loads the tokenizer and hands it to `work`; an error becomes one line and the exit status 1.
template <typename Work>
int WithTokenizer(const std::string& model_dir, std::ostream& err, Work work) {
  const absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::Load(model_dir);
  const absl::Status status = tokenizer.ok() ? work(**tokenizer) : tokenizer.status();
  if (!status.ok()) err << status.message() << std::endl;
  return status.ok() ? 0 : 1;
}

}  // namespace

int RunTokenize(const std::string& model_dir, int repeat, std::istream& in, std::ostream& out,
                std::ostream& err) {
  return WithTokenizer(model_dir, err, [&](const Tokenizer& tokenizer) {
    return repeat > 0 ? TimeTokenize(tokenizer, repeat, in, err)
                      : ForEachLine(tokenizer, TokenizeLine, in, out);
  });
}

int RunDetokenize(const std::string& model_dir, std::istream& in, std::ostream& out,
                  std::ostream& err) {
  return WithTokenizer(model_dir, err, [&](const Tokenizer& tokenizer) {
    return ForEachLine(tokenizer, DetokenizeLine, in, out);
  });
}

}  // namespace glimpse
