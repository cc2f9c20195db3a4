// Token ids -> text, one id at a time, for one stream. A token may end inside a UTF-8 character;
// its first bytes are then held back until the next token completes it. Not thread-safe.
#ifndef GLIMPSE_PREPROCESS_DETOKENIZER_H_
#define GLIMPSE_PREPROCESS_DETOKENIZER_H_

#include <cstdint>
#include <string>

#include "preprocess/tokenizer.h"

namespace glimpse {

class Detokenizer {
 public:
  // `tokenizer` must outlive this.
  explicit Detokenizer(const Tokenizer& tokenizer) : tokenizer_(&tokenizer) {}

  // The text that became complete, always valid UTF-8. Bytes that can't belong to a character
  // become U+FFFD, as many as Python's bytes.decode(errors="replace") writes. Special ids and ids
  // outside the vocabulary have no text.
  std::string Push(int32_t id);

  // What was held back: one U+FFFD if the last character never became complete, otherwise nothing.
  // The next Push starts a new text.
  std::string Finish();

 private:
  const Tokenizer* tokenizer_;
  std::string held_;  // the first bytes of a character, at most 3
};

}  // namespace glimpse

#endif  // GLIMPSE_PREPROCESS_DETOKENIZER_H_
