#include "preprocess/vocabulary.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "preprocess/read_file.h"
#include "preprocess/status_macros.h"

namespace glimpse {
namespace {

constexpr size_t kMaxFileBytes = size_t{64} << 20;  // 25 times GLM-4's

absl::Status AtLine(const std::string& path, size_t line, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(path, ":", line, ": ", what));
}

// Only the one spelling that an encoder writes: abseil's decoder alone would also take white space
// and missing padding.
bool DecodeBase64(absl::string_view text, std::string* bytes) {
  return absl::Base64Unescape(text, bytes) && !bytes->empty() && absl::Base64Escape(*bytes) == text;
}

}  // namespace

absl::StatusOr<Vocabulary> Vocabulary::Load(const std::string& path) {
  GLIMPSE_ASSIGN_OR_RETURN(const std::string content, ReadFile(path, kMaxFileBytes));
  Vocabulary vocabulary;
  vocabulary.bytes_.reserve(content.size());
  vocabulary.ends_.reserve(static_cast<size_t>(std::count(content.begin(), content.end(), '\n')) +
                           1);
  std::string scratch;
  absl::string_view rest = content;
  while (!rest.empty()) {
    const size_t length = rest.find('\n');
    const absl::Status added = vocabulary.AddLine(rest.substr(0, length), &scratch);
    if (!added.ok()) return AtLine(path, vocabulary.ends_.size() + 1, added.message());
    rest = length == absl::string_view::npos ? absl::string_view() : rest.substr(length + 1);
  }
  GLIMPSE_RETURN_IF_ERROR(vocabulary.IndexTokens(path));
  return vocabulary;
}

absl::Status Vocabulary::AddLine(absl::string_view line, std::string* scratch) {
  if (size() == kMaxTokens) {
    return absl::InvalidArgumentError(absl::StrCat("more than ", kMaxTokens, " tokens"));
  }
  const size_t space = line.find(' ');
  if (space == absl::string_view::npos) {
    return absl::InvalidArgumentError("expected base64, a space and a rank");
  }
  if (!DecodeBase64(line.substr(0, space), scratch)) {
    return absl::InvalidArgumentError("bad base64");
  }
  if (line.substr(space + 1) != absl::AlphaNum(size()).Piece()) {
    return absl::InvalidArgumentError(absl::StrCat("expected rank ", size()));
  }
  bytes_.insert(bytes_.end(), scratch->begin(), scratch->end());
  ends_.push_back(static_cast<uint32_t>(bytes_.size()));
  return absl::OkStatus();
}

absl::Status Vocabulary::IndexTokens(const std::string& path) {
  first_pairs_.resize(65536);
  ranks_.reserve(ends_.size());
  for (int32_t id = 0; id < size(); ++id) {
    const std::string_view token = Bytes(id);
    const auto [entry, inserted] = ranks_.emplace(Key(token), id);
    if (!inserted) {
      return AtLine(path, static_cast<size_t>(id) + 1,
                    absl::StrCat("the same bytes as line ", entry->second + 1));
    }
    if (token.size() < 2) continue;
    FirstPair& pair = first_pairs_[PairIndex(token)];
    pair.longest = std::max(pair.longest, static_cast<uint32_t>(token.size()));
    if (token.size() == 2) pair.rank = id;
  }
  for (int byte = 0; byte < 256; ++byte) {
    const char single = static_cast<char>(byte);
    if (Rank({&single, 1}) == kNoRank) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": no line has the single byte ", byte));
    }
  }
  return absl::OkStatus();
}

std::string_view Vocabulary::Bytes(int32_t id) const {
  if (id < 0 || id >= size()) return {};
  const size_t index = static_cast<size_t>(id);
  const size_t begin = index == 0 ? 0 : ends_[index - 1];
  return {bytes_.data() + begin, ends_[index] - begin};
}

}  // namespace glimpse
