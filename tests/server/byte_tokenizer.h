// A tokenizer for tests in which the id of a byte is its value: "Hi" is {72, 105}.
#ifndef GLIMPSE_TESTS_SERVER_BYTE_TOKENIZER_H_
#define GLIMPSE_TESTS_SERVER_BYTE_TOKENIZER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/schedule/model_limits.h"
#include "preprocess/tokenizer.h"
#include "server/served_model.h"
#include "tests/temporary_directory.h"

namespace glimpse {

inline constexpr int32_t kEndOfText = 256;       // <|endoftext|>
inline constexpr int32_t kVocabularySize = 264;  // with the special tokens

// A directory with its two files, removed at the end.
class ByteTokenizerFiles {
 public:
  ByteTokenizerFiles();
  const std::string& directory() const { return directory_.path(); }

 private:
  TemporaryDirectory directory_;
};

const Tokenizer& ByteTokenizer();

std::vector<int32_t> Ids(std::string_view text);

// A model with that tokenizer and the usual limits of pictures.
std::unique_ptr<ServedModel> MakeServedModel(const ModelLimits& limits);

}  // namespace glimpse

#endif  // GLIMPSE_TESTS_SERVER_BYTE_TOKENIZER_H_
