#include "preprocess/chat_template.h"

#include <cstddef>
#include <optional>

#include "absl/strings/str_cat.h"
#include "preprocess/status_macros.h"

namespace glimpse {
namespace {

template <size_t N>
absl::Status FindSpecialIds(const Tokenizer& tokenizer, const std::array<const char*, N>& names,
                            std::array<int32_t, N>* ids) {
  for (size_t i = 0; i < N; ++i) {
    const std::optional<int32_t> id = tokenizer.SpecialId(names[i]);
    if (!id.has_value()) {
      return absl::InvalidArgumentError(
          absl::StrCat("tokenizer_config.json has no special token ", names[i]));
    }
    (*ids)[i] = *id;
  }
  return absl::OkStatus();
}

absl::Status InMessage(size_t index, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat("message ", index, ": ", what));
}

template <typename Ids>
void Append(const Ids& ids, std::vector<int32_t>* out) {
  out->insert(out->end(), ids.begin(), ids.end());
}

}  // namespace

absl::StatusOr<ChatTemplate> ChatTemplate::Create(const Tokenizer& tokenizer) {
  ChatTemplate chat(tokenizer);
  GLIMPSE_RETURN_IF_ERROR(FindSpecialIds<2>(tokenizer, {"[gMASK]", "<sop>"}, &chat.start_ids_));
  GLIMPSE_RETURN_IF_ERROR(
      FindSpecialIds<3>(tokenizer, {"<|system|>", "<|user|>", "<|assistant|>"}, &chat.role_ids_));
  GLIMPSE_RETURN_IF_ERROR(FindSpecialIds<3>(
      tokenizer, {"<|begin_of_image|>", "<|endoftext|>", "<|end_of_image|>"}, &chat.image_ids_));
  GLIMPSE_ASSIGN_OR_RETURN(chat.newline_ids_, tokenizer.Encode("\n"));
  return chat;
}

absl::StatusOr<ChatPrompt> ChatTemplate::Render(absl::Span<const ChatMessage> messages) const {
  if (messages.empty()) return absl::InvalidArgumentError("a conversation without messages");
  ChatPrompt prompt;
  Append(start_ids_, &prompt.ids);
  for (size_t i = 0; i < messages.size(); ++i) {
    const ChatMessage& message = messages[i];
    prompt.ids.push_back(role_ids_[static_cast<size_t>(message.role)]);
    Append(newline_ids_, &prompt.ids);
    if (message.has_image) {
      if (message.role != ChatMessage::Role::kUser) return InMessage(i, "only users send pictures");
      if (prompt.image_at >= 0) return InMessage(i, "a second picture");
      prompt.image_at = static_cast<int>(prompt.ids.size());
      Append(image_ids_, &prompt.ids);
    }
    const absl::StatusOr<std::vector<int32_t>> text_ids = tokenizer_->Encode(message.text);
    if (!text_ids.ok()) return InMessage(i, std::string(text_ids.status().message()));
    Append(*text_ids, &prompt.ids);
  }
  prompt.ids.push_back(role_ids_[static_cast<size_t>(ChatMessage::Role::kAssistant)]);
  return prompt;
}

}  // namespace glimpse
