// Splits text into the pieces in which byte-pair merging works, by GLM-4's regular expression:
// contractions, words, up to three digits, punctuation, line ends, white space. The pieces, put
// together, are the text.
//
// PCRE2 matches it. The vocabulary's own library (tiktoken) asks a newer Unicode version which
// characters are letters or digits; unicode_stand_ins.h levels the difference, and says which.
#ifndef GLIMPSE_PREPROCESS_TEXT_SPLITTER_H_
#define GLIMPSE_PREPROCESS_TEXT_SPLITTER_H_

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace glimpse {

// The compiled expression. Immutable: any number of threads may read pieces with it.
class TextSplitter {
 public:
  enum class Matcher {
    kCompiled,     // machine code; falls back to the interpreter where the system forbids that
    kInterpreted,  // the same pieces, several times slower
  };
  static absl::StatusOr<TextSplitter> Create(Matcher matcher = Matcher::kCompiled);

  TextSplitter(TextSplitter&&) noexcept;
  TextSplitter& operator=(TextSplitter&&) noexcept;
  ~TextSplitter();

 private:
  friend class PieceReader;
  struct Compiled;  // keeps PCRE2 out of this header
  explicit TextSplitter(std::unique_ptr<Compiled> compiled);

  std::unique_ptr<Compiled> compiled_;
};

// One pass over one text. For one thread; the splitter and the text must outlive it.
//   PieceReader reader(splitter, text);
//   while (reader.Next(&piece)) ...
//   if (!reader.status().ok()) ...
class PieceReader {
 public:
  // `text` must be valid UTF-8.
  PieceReader(const TextSplitter& splitter, std::string_view text);
  ~PieceReader();
  PieceReader(const PieceReader&) = delete;
  PieceReader& operator=(const PieceReader&) = delete;

  // False at the end of the text or when the matcher failed (no memory): see status().
  bool Next(std::string_view* piece);
  const absl::Status& status() const { return status_; }

 private:
  struct Match;
  const TextSplitter::Compiled& compiled_;
  const std::string_view text_;
  std::string stand_in_;      // what is matched instead of text_, if that must differ
  std::string_view matched_;  // text_ or stand_in_: the same length
  size_t at_ = 0;             // bytes read
  std::unique_ptr<Match> match_;
  absl::Status status_;
};

}  // namespace glimpse

#endif  // GLIMPSE_PREPROCESS_TEXT_SPLITTER_H_
