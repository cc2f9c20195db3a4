// Text -> token ids, and the bytes of each id, as the checkpoint's tiktoken vocabulary defines
// them.
//
//   absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::Load("/models/glm-4v-9b");
//   absl::StatusOr<std::vector<int32_t>> ids = (*tokenizer)->Encode("What is in the picture?");
//
// Ids 0..N-1 are the lines of tokenizer.model ("ordinary"), the following ones the entries of
// added_tokens_decoder in tokenizer_config.json ("special"), whether or not they are marked so.
// Special ids never come out of Encode, whatever a user types; ChatTemplate alone writes them.
//
// Immutable and safe for all threads. The bytes of Encode(text), put together, are the text.
#ifndef GLIMPSE_PREPROCESS_TOKENIZER_H_
#define GLIMPSE_PREPROCESS_TOKENIZER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "preprocess/text_splitter.h"
#include "preprocess/vocabulary.h"

namespace glimpse {

class Tokenizer {
 public:
  // Reads model_dir/tokenizer.model and model_dir/tokenizer_config.json. NOT_FOUND for a missing
  // file; INVALID_ARGUMENT, naming file and line or entry, for anything that is not exactly as
  // described above and in vocabulary.h.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Load(const std::string& model_dir);

  // INVALID_ARGUMENT for text that is not valid UTF-8, or longer than 1 GiB. Empty text has no ids.
  // Takes time linear in the text, or n log n for one long word.
  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view utf8) const;

  // The bytes of an ordinary id, which may begin or end inside a UTF-8 character; empty for special
  // ids and for ids outside the vocabulary (rows that pad the embedding). Valid as long as *this.
  std::string_view TokenBytes(int32_t id) const { return vocabulary_.Bytes(id); }

  std::optional<int32_t> SpecialId(std::string_view name) const;
  std::string_view SpecialName(int32_t id) const;  // "" if `id` is not special

  // Ordinary and special ids together.
  int32_t vocabulary_size() const {
    return vocabulary_.size() + static_cast<int32_t>(special_names_.size());
  }

 private:
  Tokenizer(Vocabulary vocabulary, std::vector<std::string> special_names, TextSplitter splitter);

  const Vocabulary vocabulary_;
  const std::vector<std::string> special_names_;  // of the ids from vocabulary_.size() on
  const TextSplitter splitter_;
};

}  // namespace glimpse

#endif  // GLIMPSE_PREPROCESS_TOKENIZER_H_
