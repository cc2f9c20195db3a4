#include "preprocess/stop_string_matcher.h"

#include <algorithm>
#include <utility>

namespace glimpse {

StopStringMatcher::StopStringMatcher(std::vector<std::string> stop_strings) {
  for (std::string& text : stop_strings) {
    if (text.empty()) continue;
    Pattern pattern{std::move(text), {0}};
    // The pattern is matched against itself from its second byte on: the state is then the border.
    for (size_t i = 0; i < pattern.text.size(); ++i) {
      if (i > 0) Advance(&pattern, pattern.text[i]);
      pattern.fallback.push_back(pattern.state);
    }
    pattern.state = 0;
    patterns_.push_back(std::move(pattern));
  }
}

// Not called in a complete match: the stream is over then.
void StopStringMatcher::Advance(Pattern* pattern, char byte) {
  while (pattern->state > 0 && pattern->text[pattern->state] != byte) {
    pattern->state = pattern->fallback[pattern->state];
  }
  if (pattern->text[pattern->state] == byte) ++pattern->state;
}

size_t StopStringMatcher::LongestState() const {
  size_t longest = 0;
  for (const Pattern& pattern : patterns_) longest = std::max(longest, pattern.state);
  return longest;
}

std::string StopStringMatcher::Push(std::string_view text) {
  if (matched_) return {};
  for (const char byte : text) {
    held_.push_back(byte);
    size_t match_bytes = 0;
    for (Pattern& pattern : patterns_) {
      Advance(&pattern, byte);
      if (pattern.state == pattern.text.size()) match_bytes = std::max(match_bytes, pattern.state);
    }
    if (match_bytes == 0) continue;
    matched_ = true;
    held_.resize(held_.size() - match_bytes);
    return std::exchange(held_, {});
  }
  const size_t safe_bytes = held_.size() - LongestState();
  std::string safe = held_.substr(0, safe_bytes);
  held_.erase(0, safe_bytes);
  return safe;
}

std::string StopStringMatcher::Finish() { return std::exchange(held_, {}); }

}  // namespace glimpse
