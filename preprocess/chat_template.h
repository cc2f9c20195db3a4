// A conversation -> the prompt's token ids, in GLM-4V's form:
//
//   [gMASK] <sop>
//   for each message:  <|role|>  ids("\n")  [the picture's three ids]  ids(text)
//   <|assistant|>
//
// The picture's ids are <|begin_of_image|> <|endoftext|> <|end_of_image|>: the places that the
// vision tower's rows take. The text is encoded apart from the "\n" before it. The model itself
// writes the "\n" after the last <|assistant|>.
#ifndef GLIMPSE_PREPROCESS_CHAT_TEMPLATE_H_
#define GLIMPSE_PREPROCESS_CHAT_TEMPLATE_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "preprocess/tokenizer.h"

namespace glimpse {

struct ChatMessage {
  enum class Role { kSystem, kUser, kAssistant };
  Role role;
  std::string text;
  bool has_image = false;
};

struct ChatPrompt {
  std::vector<int32_t> ids;
  int image_at = -1;  // index of <|begin_of_image|> in ids; -1 without a picture
};

// Immutable, thread-safe.
class ChatTemplate {
 public:
  // INVALID_ARGUMENT if the checkpoint lacks one of the special tokens above. `tokenizer` must
  // outlive the template.
  static absl::StatusOr<ChatTemplate> Create(const Tokenizer& tokenizer);

  // INVALID_ARGUMENT, naming the message, for: no messages, a second picture, a picture in a
  // message that is not the user's, text that is not valid UTF-8. The order of the roles is the
  // caller's.
  absl::StatusOr<ChatPrompt> Render(absl::Span<const ChatMessage> messages) const;

 private:
  explicit ChatTemplate(const Tokenizer& tokenizer) : tokenizer_(&tokenizer) {}

  const Tokenizer* tokenizer_;
  std::array<int32_t, 2> start_ids_;  // [gMASK] <sop>
  std::array<int32_t, 3> role_ids_;   // by ChatMessage::Role
  std::array<int32_t, 3> image_ids_;  // begin, place holder, end
  std::vector<int32_t> newline_ids_;
};

}  // namespace glimpse

#endif  // GLIMPSE_PREPROCESS_CHAT_TEMPLATE_H_
