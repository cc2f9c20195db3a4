// UTF-8 by the byte ranges of the Unicode Standard, table 3-7: no surrogates, no overlong forms,
// nothing above U+10FFFF. Pure functions.
#ifndef GLIMPSE_PREPROCESS_UTF8_H_
#define GLIMPSE_PREPROCESS_UTF8_H_

#include <cstddef>
#include <string_view>

namespace glimpse {

struct Utf8Prefix {
  enum class Kind {
    kCharacter,   // a complete character
    kInvalid,     // bytes that no character starts with; one U+FFFD stands for them
    kIncomplete,  // the text ends inside what may still become a character
  };
  Kind kind;
  size_t length;  // bytes, at least 1
};

// What the non-empty `text` begins with. An invalid prefix is the longest one that a character
// could have started with (or one byte): the rule of Python's errors="replace".
Utf8Prefix ReadUtf8(std::string_view text);

// How many bytes at the start of `text` are whole characters: text.size() if it is valid UTF-8.
size_t ValidUtf8Length(std::string_view text);

inline bool IsValidUtf8(std::string_view text) { return ValidUtf8Length(text) == text.size(); }

}  // namespace glimpse

#endif  // GLIMPSE_PREPROCESS_UTF8_H_
