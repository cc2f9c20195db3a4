// Characters that PCRE2 10.42 (Unicode 14) and tiktoken 0.14 (Unicode 16) put into different
// classes, and how to make the older one split as the newer one does: match a copy of the text in
// which each of them is replaced by a character of the right class and of the same length.
//
// All 1112064 characters were compared; tests/preprocess/tokenizer_parity.py repeats it. What
// differs: 9272 letters and 120 digits of scripts that Unicode 15 and 16 added, and U+180E, which
// PCRE2 takes for white space and Unicode, since version 6.3, does not. A newer PCRE2 needs fewer
// of these entries and none of them harms it.
#ifndef GLIMPSE_PREPROCESS_UNICODE_STAND_INS_H_
#define GLIMPSE_PREPROCESS_UNICODE_STAND_INS_H_

#include <string>
#include <string_view>

namespace glimpse {

// The copy to match in place of `text` (valid UTF-8), byte for byte as long; empty if `text` can be
// matched itself, which nearly all text can.
std::string WithStandIns(std::string_view text);

}  // namespace glimpse

#endif  // GLIMPSE_PREPROCESS_UNICODE_STAND_INS_H_
