#include "preprocess/chat_template.h"

#include <catch2/catch.hpp>

#include "tests/preprocess/tokenizer_fixture.h"

namespace glimpse {
namespace {

using Role = ChatMessage::Role;

struct GoldenChat {
  std::vector<ChatMessage> messages;
  std::vector<int32_t> ids;
  int image_at;
};

const GoldenChat kGoldenChats[] = {
#include "tests/golden/chat_template.inc"
};

void CheckRefused(const std::vector<ChatMessage>& messages, const std::string& message) {
  const auto tokenizer = LoadGolden();
  const auto prompt = ChatTemplate::Create(*tokenizer).value().Render(messages);
  REQUIRE_FALSE(prompt.ok());
  CHECK(prompt.status() == absl::InvalidArgumentError(message));
}

TEST_CASE("conversations become the reference's ids") {
  const auto tokenizer = LoadGolden();
  const ChatTemplate chat = ChatTemplate::Create(*tokenizer).value();
  for (const GoldenChat& golden : kGoldenChats) {
    const ChatPrompt prompt = chat.Render(golden.messages).value();
    CHECK(prompt.ids == golden.ids);
    CHECK(prompt.image_at == golden.image_at);
  }
}

TEST_CASE("a picture's three ids stand before the text of its message") {
  const auto tokenizer = LoadGolden();
  const ChatTemplate chat = ChatTemplate::Create(*tokenizer).value();
  const std::vector<ChatMessage> messages = {{Role::kUser, "x", true}};
  const ChatPrompt prompt = chat.Render(messages).value();
  std::string shown;
  for (const int32_t id : prompt.ids) {
    shown += tokenizer->SpecialName(id);
    shown += tokenizer->TokenBytes(id);
  }
  CHECK(shown ==
        "[gMASK]<sop><|user|>\n<|begin_of_image|><|endoftext|><|end_of_image|>x<|assistant|>");
  CHECK(tokenizer->SpecialName(prompt.ids[static_cast<size_t>(prompt.image_at)]) ==
        "<|begin_of_image|>");
}

TEST_CASE("conversations that the model has no form for are refused") {
  CheckRefused({}, "a conversation without messages");
  CheckRefused({{Role::kSystem, "x", true}}, "message 0: only users send pictures");
  CheckRefused({{Role::kUser, "x"}, {Role::kAssistant, "x", true}},
               "message 1: only users send pictures");
  CheckRefused({{Role::kUser, "x", true}, {Role::kAssistant, "y"}, {Role::kUser, "z", true}},
               "message 2: a second picture");
  CheckRefused({{Role::kUser, "a\xFF"}}, "message 0: not valid UTF-8 at byte 1");
}

TEST_CASE("a checkpoint without a token of the template is refused by the token's name") {
  for (const char* missing : {"[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>",
                              "<|begin_of_image|>", "<|endoftext|>", "<|end_of_image|>"}) {
    std::vector<std::string> names = SpecialNames();
    for (std::string& name : names) {
      if (name == missing) name = "other";
    }
    const auto tokenizer = LoadFrom(GoldenVocabulary(), ConfigOf(kGoldenSize, names)).value();
    const auto chat = ChatTemplate::Create(*tokenizer);
    REQUIRE_FALSE(chat.ok());
    CHECK(chat.status() == absl::InvalidArgumentError(absl::StrCat(
                               "tokenizer_config.json has no special token ", missing)));
  }
}

}  // namespace
}  // namespace glimpse
