#include "engine/strict_json.h"

#include <set>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "preprocess/read_file.h"
#include "preprocess/status_macros.h"

namespace glimpse {
namespace {

using nlohmann::json;

constexpr size_t kMaxDepth = 16;
constexpr int64_t kMaxValues = int64_t{1} << 20;
constexpr size_t kMaxFileBytes = size_t{64} << 20;
constexpr size_t kMaxShownBytes = 120;

// Walks a text without building anything and stops at the first fault. Only a text that passed is
// given to json::parse.
class Checker : public nlohmann::json_sax<json> {
 public:
  const std::string& fault() const { return fault_; }

  bool null() override { return Value(); }
  bool boolean(bool) override { return Value(); }
  bool number_integer(number_integer_t) override { return Value(); }
  bool number_unsigned(number_unsigned_t) override { return Value(); }
  bool number_float(number_float_t, const string_t&) override { return Value(); }
  bool string(string_t&) override { return Value(); }
  bool binary(binary_t&) override { return Value(); }
  bool start_array(size_t) override { return Open(); }
  bool end_array() override { return Close(); }
  bool start_object(size_t) override { return Open(); }
  bool end_object() override { return Close(); }

  bool key(string_t& name) override {
    if (keys_.back().insert(name).second) return true;
    return Fail(absl::StrCat("the key ", Quoted(name), " appears twice"));
  }

  bool parse_error(size_t position, const std::string&, const json::exception&) override {
    return Fail(absl::StrCat("not valid JSON at byte ", position));
  }

 private:
  bool Fail(std::string fault) {
    fault_ = std::move(fault);
    return false;
  }

  bool Value() {
    if (keys_.empty()) return Fail("expected a JSON object");
    return ++values_ <= kMaxValues || Fail(absl::StrCat("more than ", kMaxValues, " JSON values"));
  }

  bool Open() {
    if (keys_.size() == kMaxDepth) {
      return Fail(absl::StrCat("JSON nested deeper than ", kMaxDepth));
    }
    if (!keys_.empty() && !Value()) return false;
    keys_.emplace_back();
    return true;
  }

  bool Close() {
    keys_.pop_back();
    return true;
  }

  std::vector<std::set<std::string>> keys_;  // of each open object; empty for an open array
  int64_t values_ = 0;
  std::string fault_;
};

}  // namespace

absl::StatusOr<json> ParseStrictJson(absl::string_view text, absl::string_view file) {
  Checker checker;
  if (!json::sax_parse(text, &checker)) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": ", checker.fault()));
  }
  json value = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!value.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": expected a JSON object"));
  }
  return value;
}

absl::StatusOr<json> ReadStrictJson(const std::string& path) {
  GLIMPSE_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxFileBytes));
  return ParseStrictJson(text, path);
}

std::string Quoted(absl::string_view text) {
  const bool cut = text.size() > kMaxShownBytes;
  return absl::StrCat("'", absl::Utf8SafeCHexEscape(text.substr(0, kMaxShownBytes)),
                      cut ? "...'" : "'");
}

std::string Shown(const json& value) {
  std::string text = value.dump(-1, ' ', /*ensure_ascii=*/true);
  if (text.size() > kMaxShownBytes) text.replace(kMaxShownBytes, std::string::npos, "...");
  return text;
}

}  // namespace glimpse
