#include "engine/strict_json.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "preprocess/status_macros.h"

namespace glimpse {
namespace {

using nlohmann::json;

constexpr size_t kMaxDepth = 16;
constexpr int64_t kMaxValues = int64_t{1} << 20;
constexpr int64_t kMaxFileBytes = int64_t{64} << 20;
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

absl::StatusOr<std::string> ReadOpenFile(int descriptor, const std::string& path) {
  struct stat info;
  if (::fstat(descriptor, &info) != 0 || !S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": not a regular file"));
  }
  if (info.st_size > kMaxFileBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": ", info.st_size, " bytes, expected at most ", kMaxFileBytes));
  }
  std::string text(info.st_size, '\0');
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t count = ::read(descriptor, text.data() + done, text.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return absl::InvalidArgumentError(absl::StrCat(path, ": cannot be read"));
    done += count;
  }
  return text;
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  // Not blocking: a pipe in the place of the file must not hold up the start.
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) {
    const std::string message = absl::StrCat(path, ": ", std::strerror(errno));
    return errno == ENOENT || errno == ENOTDIR ? absl::NotFoundError(message)
                                               : absl::InvalidArgumentError(message);
  }
  absl::StatusOr<std::string> text = ReadOpenFile(descriptor, path);
  ::close(descriptor);
  return text;
}

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
  GLIMPSE_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
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
