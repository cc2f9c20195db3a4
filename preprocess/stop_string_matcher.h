// Looks for stop strings in the text of one stream while it is being made, and holds back what may
// still become one. What comes out does not depend on how the text was cut into pieces. Not
// thread-safe.
//
//   StopStringMatcher matcher({"\nUser:"});
//   out += matcher.Push("Yes.\nUs");   // "Yes."
//   out += matcher.Push("er: and?");   // ""; matched() is true from here on
//   out += matcher.Finish();           // ""
//
// The match is the one that ends first, and of those that end together the longest. Time is linear
// in the text, times the number of stop strings.
#ifndef GLIMPSE_PREPROCESS_STOP_STRING_MATCHER_H_
#define GLIMPSE_PREPROCESS_STOP_STRING_MATCHER_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace glimpse {

class StopStringMatcher {
 public:
  // Empty stop strings match nothing. If the stop strings and the pushed texts are valid UTF-8, so
  // is each text that comes out.
  explicit StopStringMatcher(std::vector<std::string> stop_strings);

  // The text that is certain not to belong to a stop string; after a match, what stood before it
  // and then nothing any more.
  std::string Push(std::string_view text);

  // The end of the text: what was held back and has not become a stop string.
  std::string Finish();

  bool matched() const { return matched_; }

 private:
  // Knuth, Morris and Pratt's automaton for one stop string.
  struct Pattern {
    std::string text;
    std::vector<size_t> fallback;  // [text.size() + 1] longest proper border of each prefix
    size_t state = 0;              // longest prefix of `text` that the stream now ends with
  };
  static void Advance(Pattern* pattern, char byte);
  size_t LongestState() const;

  std::vector<Pattern> patterns_;
  std::string held_;  // the end of the stream that has not come out
  bool matched_ = false;
};

}  // namespace glimpse

#endif  // GLIMPSE_PREPROCESS_STOP_STRING_MATCHER_H_
