#include "preprocess/detokenizer.h"

#include <string_view>

#include "preprocess/utf8.h"

namespace glimpse {
namespace {

constexpr std::string_view kReplacement = "\uFFFD";

}  // namespace

std::string Detokenizer::Push(int32_t id) {
  held_.append(tokenizer_->TokenBytes(id));
  std::string text;
  std::string_view rest = held_;
  while (!rest.empty()) {
    const Utf8Prefix prefix = ReadUtf8(rest);
    if (prefix.kind == Utf8Prefix::Kind::kIncomplete) break;
    const bool valid = prefix.kind == Utf8Prefix::Kind::kCharacter;
    text.append(valid ? rest.substr(0, prefix.length) : kReplacement);
    rest.remove_prefix(prefix.length);
  }
  held_.erase(0, held_.size() - rest.size());
  return text;
}

std::string Detokenizer::Finish() {
  if (held_.empty()) return {};
  held_.clear();
  return std::string(kReplacement);
}

}  // namespace glimpse
