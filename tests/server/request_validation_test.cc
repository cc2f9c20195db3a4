#include "server/request_validation.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <string>

#include "tests/server/status_details.h"

namespace glimpse {
namespace {

using Violations = std::multimap<std::string, std::string>;

v1::Message* AddMessage(v1::ChatRequest& request, v1::Role role, const std::string& text) {
  v1::Message* message = request.add_messages();
  message->set_role(role);
  message->add_parts()->set_text(text);
  return message;
}

v1::ChatRequest Question(const std::string& text = "What is this?") {
  v1::ChatRequest request;
  AddMessage(request, v1::ROLE_USER, text);
  return request;
}

// The fields that are refused, in order of their names.
std::vector<std::string> RefusedFields(const v1::ChatRequest& request,
                                       const ValidationRules& rules = {}) {
  const absl::StatusOr<ChatInput> input = ValidateChatRequest(request, rules);
  std::vector<std::string> fields;
  if (input.ok()) return fields;
  const StatusDetails details = DetailsOf(input.status());
  CHECK(details.reason == "INVALID_FIELD");
  for (const auto& [field, description] : details.violations) {
    CHECK_FALSE(description.empty());
    fields.push_back(field);
  }
  return fields;
}

using Fields = std::vector<std::string>;

grpc::ByteBuffer Bytes(const std::string& text) {
  const grpc::Slice slice(text);
  return grpc::ByteBuffer(&slice, 1);
}

// As a varint of three bytes: enough for 16384 to 2^21 - 1.
std::string Length(const std::string& text) {
  const size_t size = text.size();
  return {static_cast<char>(size | 0x80), static_cast<char>((size >> 7) | 0x80),
          static_cast<char>(size >> 14)};
}

TEST_CASE("a whole conversation becomes messages, a picture and sampling parameters") {
  v1::ChatRequest request;
  request.set_request_id("my-id.1");
  AddMessage(request, v1::ROLE_SYSTEM, "Be brief.");
  v1::Message* with_image = AddMessage(request, v1::ROLE_USER, "What ");
  with_image->add_parts()->set_image("picture bytes");
  with_image->add_parts()->set_text("is this?");
  AddMessage(request, v1::ROLE_ASSISTANT, "A circle.");
  AddMessage(request, v1::ROLE_USER, "Colour?");
  v1::Generation* generation = request.mutable_generation();
  generation->set_max_tokens(7);
  generation->set_temperature(0);
  generation->set_top_k(5);
  generation->set_seed(0);
  generation->add_stop("END");
  generation->set_ignore_eos(true);
  generation->set_logprobs(0);
  ValidationRules rules;
  rules.default_sampling.top_p = 0.8f;
  rules.default_sampling.top_k = 3;

  const absl::StatusOr<ChatInput> input = ValidateChatRequest(request, rules);
  REQUIRE(input.ok());
  CHECK(input->request_id == "my-id.1");
  REQUIRE(input->messages.size() == 4);
  CHECK(input->messages[0].role == ChatMessage::Role::kSystem);
  CHECK(input->messages[1].text == "What is this?");
  CHECK(input->messages[1].has_image);
  CHECK(input->messages[2].role == ChatMessage::Role::kAssistant);
  CHECK_FALSE(input->messages[3].has_image);
  CHECK(input->image == "picture bytes");
  CHECK(input->max_tokens == 7);
  CHECK(input->sampling.temperature == 0);
  CHECK(input->sampling.top_p == 0.8f);
  CHECK(input->sampling.top_k == 5);
  CHECK(input->has_seed);
  CHECK(input->sampling.top_logprobs == 0);
  CHECK(input->stop_strings == std::vector<std::string>{"END"});
  CHECK(input->ignore_stop_ids);
}

TEST_CASE("absent fields take the checkpoint's defaults") {
  ValidationRules rules;
  rules.default_sampling.temperature = 0.7f;
  rules.default_sampling.repetition_penalty = 1.1f;
  const absl::StatusOr<ChatInput> input = ValidateChatRequest(Question(), rules);
  REQUIRE(input.ok());
  CHECK(input->sampling.temperature == 0.7f);
  CHECK(input->sampling.repetition_penalty == 1.1f);
  CHECK(input->sampling.top_logprobs == -1);
  CHECK_FALSE(input->has_seed);
  CHECK_FALSE(input->max_tokens.has_value());
}

TEST_CASE("the roles have an order") {
  v1::ChatRequest request;
  SECTION("no messages") { CHECK(RefusedFields(request) == Fields{"messages"}); }
  SECTION("a system message alone") {
    AddMessage(request, v1::ROLE_SYSTEM, "x");
    CHECK(RefusedFields(request) == Fields{"messages[0].role"});
  }
  SECTION("a late system message") {
    AddMessage(request, v1::ROLE_USER, "x");
    AddMessage(request, v1::ROLE_SYSTEM, "x");
    AddMessage(request, v1::ROLE_USER, "x");
    CHECK(RefusedFields(request) == Fields{"messages[1].role", "messages[2].role"});
  }
  SECTION("the assistant first") {
    AddMessage(request, v1::ROLE_ASSISTANT, "x");
    AddMessage(request, v1::ROLE_USER, "x");
    CHECK(RefusedFields(request) == Fields{"messages[0].role"});
  }
  SECTION("the assistant last") {
    AddMessage(request, v1::ROLE_USER, "x");
    AddMessage(request, v1::ROLE_ASSISTANT, "x");
    CHECK(RefusedFields(request) == Fields{"messages[1].role"});
  }
  SECTION("no role, and one that does not exist") {
    AddMessage(request, v1::ROLE_UNSPECIFIED, "x");
    AddMessage(request, static_cast<v1::Role>(9), "x");
    AddMessage(request, v1::ROLE_USER, "x");
    CHECK(RefusedFields(request) == Fields{"messages[0].role", "messages[1].role"});
  }
}

TEST_CASE("messages and parts are not empty") {
  v1::ChatRequest request = Question("");
  request.mutable_messages(0)->add_parts();
  request.mutable_messages(0)->add_parts()->set_image("");
  CHECK(RefusedFields(request) ==
        Fields{"messages[0].parts[0].text", "messages[0].parts[1]", "messages[0].parts[2].image"});
  request.mutable_messages(0)->clear_parts();
  CHECK(RefusedFields(request) == Fields{"messages[0].parts"});
}

TEST_CASE("one picture at most, and only from a user") {
  v1::ChatRequest request;
  AddMessage(request, v1::ROLE_SYSTEM, "x")->add_parts()->set_image("x");
  AddMessage(request, v1::ROLE_USER, "x")->add_parts()->set_image("x");
  CHECK(RefusedFields(request) ==
        Fields{"messages[0].parts[1].image", "messages[1].parts[1].image"});

  v1::ChatRequest one = Question();
  one.mutable_messages(0)->add_parts()->set_image("x");
  CHECK(RefusedFields(one).empty());
  ValidationRules text_only;
  text_only.takes_images = false;
  CHECK(RefusedFields(one, text_only) == Fields{"messages[0].parts[1].image"});
}

TEST_CASE("numbers have ranges, and NaN is in none") {
  v1::ChatRequest request = Question();
  v1::Generation& generation = *request.mutable_generation();
  SECTION("too small, all at once") {
    generation.set_max_tokens(0);
    generation.set_temperature(-0.5f);
    generation.set_top_p(0);
    generation.set_top_k(-1);
    generation.set_repetition_penalty(0);
    generation.set_logprobs(-1);
    CHECK(RefusedFields(request) ==
          Fields{"generation.logprobs", "generation.max_tokens", "generation.repetition_penalty",
                 "generation.temperature", "generation.top_k", "generation.top_p"});
  }
  SECTION("too large") {
    generation.set_temperature(10.5f);
    generation.set_top_p(1.01f);
    generation.set_repetition_penalty(std::numeric_limits<float>::infinity());
    generation.set_logprobs(21);
    CHECK(RefusedFields(request) == Fields{"generation.logprobs", "generation.repetition_penalty",
                                           "generation.temperature", "generation.top_p"});
  }
  SECTION("NaN") {
    generation.set_temperature(std::nanf(""));
    generation.set_top_p(std::nanf(""));
    generation.set_repetition_penalty(std::nanf(""));
    CHECK(RefusedFields(request) ==
          Fields{"generation.repetition_penalty", "generation.temperature", "generation.top_p"});
  }
  SECTION("the ends of the ranges are in them") {
    generation.set_max_tokens(1);
    generation.set_temperature(0.01f);
    generation.set_top_p(1);
    generation.set_top_k(0);
    generation.set_repetition_penalty(10);
    generation.set_logprobs(20);
    CHECK(RefusedFields(request).empty());
  }
}

TEST_CASE("stop strings and ids have a form") {
  v1::ChatRequest request = Question();
  request.set_request_id("two words");
  v1::Generation& generation = *request.mutable_generation();
  generation.add_stop("");
  generation.add_stop(std::string(256, 'a'));
  generation.add_stop(std::string(257, 'a'));
  CHECK(RefusedFields(request) == Fields{"generation.stop[0]", "generation.stop[2]", "request_id"});
  generation.clear_stop();
  for (int i = 0; i < 17; ++i) generation.add_stop(std::string(1, 'x'));
  request.set_request_id(std::string(129, 'a'));
  CHECK(RefusedFields(request) == Fields{"generation.stop", "request_id"});
}

TEST_CASE("a request that is wrong everywhere is answered shortly") {
  v1::ChatRequest request;
  for (int i = 0; i < 1000; ++i) AddMessage(request, v1::ROLE_UNSPECIFIED, "");
  CHECK(RefusedFields(request).size() == 32);
}

TEST_CASE("bytes off the wire") {
  v1::ChatRequest parsed;
  SECTION("a request") {
    grpc::ByteBuffer bytes = Bytes(Question("Hi").SerializeAsString());
    CHECK(ParseChatRequest(&bytes, &parsed).ok());
    CHECK(parsed.messages(0).parts(0).text() == "Hi");
  }
  SECTION("no protobuf at all") {
    grpc::ByteBuffer bytes = Bytes("\xff\xff\xff\xff");
    const absl::Status status = ParseChatRequest(&bytes, &parsed);
    CHECK(absl::IsInvalidArgument(status));
    CHECK(DetailsOf(status).reason == "INVALID_FIELD");
  }
  SECTION("so many fields that they would take far more memory than bytes") {
    v1::ChatRequest request = Question("Hi");
    for (int i = 0; i < 60000; ++i) request.mutable_messages(0)->add_parts()->set_text("x");
    grpc::ByteBuffer bytes = Bytes(request.SerializeAsString());
    CHECK(ParseChatRequest(&bytes, &parsed).ok());
    CHECK(parsed.messages(0).parts_size() == 60001);
    for (const std::string& piece : {std::string("\x12\0", 2), std::string("\x78\1", 2)}) {
      std::string wire;
      for (int i = 0; i < 70000; ++i) wire += piece;
      for (const std::string& nested : {wire, "\x12" + Length(wire) + wire}) {
        bytes = Bytes(nested);
        v1::ChatRequest nothing;
        const absl::Status status = ParseChatRequest(&bytes, &nothing);
        CHECK(DetailsOf(status).violations == Violations{{"", "must hold at most 65536 fields"}});
        CHECK(nothing.messages_size() == 0);
      }
    }
  }
  SECTION("text that is not UTF-8 is named") {
    std::string wire = Question("What XX").SerializeAsString();
    wire.replace(wire.find("XX"), 2, "\xc3\x28");
    grpc::ByteBuffer bytes = Bytes(wire);
    const absl::Status status = ParseChatRequest(&bytes, &parsed);
    CHECK(DetailsOf(status).violations ==
          Violations{{"messages[0].parts[0].text", "must be valid UTF-8"}});
  }
}

}  // namespace
}  // namespace glimpse
