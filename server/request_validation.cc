#include "server/request_validation.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>
#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/support/proto_buffer_reader.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "preprocess/status_macros.h"
#include "preprocess/utf8.h"
#include "server/status.h"

namespace glimpse {
namespace {

constexpr int kMaxMessages = 1024;
constexpr int kMaxFields = 1 << 16;  // those of messages and `generation` included
constexpr size_t kMaxRequestIdBytes = 128;
constexpr int kMaxStopStrings = 16;
constexpr size_t kMaxStopStringBytes = 256;
constexpr float kMinTemperature = 0.01f;
constexpr float kMaxTemperature = 10.0f;
constexpr float kMinRepetitionPenalty = 0.1f;
constexpr float kMaxRepetitionPenalty = 10.0f;
constexpr int kMaxLogprobs = 20;
// A hostile request can be wrong in a million places; naming this many helps as much, and clients
// take no more than 8 KiB of trailers.
constexpr size_t kMaxViolations = 32;

class Violations {
 public:
  void Add(std::string field, std::string description) {
    if (list_.size() < kMaxViolations) list_.push_back({std::move(field), std::move(description)});
  }
  // Adds a violation unless `valid`.
  void Check(bool valid, absl::string_view field, absl::string_view description) {
    if (!valid) Add(std::string(field), std::string(description));
  }
  absl::Status ToStatus() const {
    return list_.empty() ? absl::OkStatus() : InvalidFieldError(list_);
  }

 private:
  std::vector<FieldViolation> list_;
};

// The fields of one level and, in a whole request, those of its messages and of `generation`. Stops
// at what is no protobuf, and somewhere past kMaxFields.
int CountFields(google::protobuf::io::CodedInputStream& in, bool is_request) {
  using google::protobuf::internal::WireFormatLite;
  constexpr auto kLengthDelimited = WireFormatLite::WIRETYPE_LENGTH_DELIMITED;
  constexpr uint32_t kNested[] = {
      WireFormatLite::MakeTag(v1::ChatRequest::kMessagesFieldNumber, kLengthDelimited),
      WireFormatLite::MakeTag(v1::ChatRequest::kGenerationFieldNumber, kLengthDelimited)};
  int count = 0;
  while (const uint32_t tag = in.ReadTag()) {
    if (++count > kMaxFields) break;
    if (is_request && (tag == kNested[0] || tag == kNested[1])) {
      int length = 0;
      if (!in.ReadVarintSizeAsInt(&length)) break;
      const auto outer = in.PushLimit(length);
      count += CountFields(in, /*is_request=*/false);
      const bool is_whole = in.Skip(in.BytesUntilLimit());
      in.PopLimit(outer);
      if (!is_whole) break;
    } else if (!WireFormatLite::SkipField(&in, tag)) {
      break;
    }
  }
  return count;
}

// Looks before anything is built: an empty part takes 2 bytes on the wire and 70 in memory.
bool HasTooManyFields(grpc::ByteBuffer* bytes) {
  grpc::ProtoBufferReader reader(bytes);
  google::protobuf::io::CodedInputStream in(&reader);
  return CountFields(in, /*is_request=*/true) > kMaxFields;
}

std::string MessageField(int index) { return absl::StrCat("messages[", index, "]"); }

void CheckRequestId(const std::string& id, Violations& violations) {
  const bool printable =
      std::all_of(id.begin(), id.end(), [](char c) { return c > ' ' && c <= '~'; });
  violations.Check(printable && id.size() <= kMaxRequestIdBytes, "request_id",
                   absl::StrCat("must be at most ", kMaxRequestIdBytes,
                                " printable ASCII characters without spaces"));
}

// An optional system message, then user and assistant in turns, a user message last.
void CheckRoles(const v1::ChatRequest& request, Violations& violations) {
  v1::Role expected = v1::ROLE_USER;
  for (int i = 0; i < request.messages_size(); ++i) {
    const v1::Role role = request.messages(i).role();
    if (i == 0 && role == v1::ROLE_SYSTEM) continue;
    const std::string field = MessageField(i) + ".role";
    if (role == v1::ROLE_SYSTEM) {
      violations.Add(field, "a system message can only be the first");
    } else if (role != v1::ROLE_USER && role != v1::ROLE_ASSISTANT) {
      violations.Add(field, "must be system, user or assistant");
    } else {
      violations.Check(role == expected, field,
                       "user and assistant must take turns, beginning with user");
      expected = role == v1::ROLE_USER ? v1::ROLE_ASSISTANT : v1::ROLE_USER;
    }
  }
  const int count = request.messages_size();
  if (count > 0) {
    violations.Check(request.messages(count - 1).role() == v1::ROLE_USER,
                     MessageField(count - 1) + ".role", "the last message must be the user's");
  }
}

void CheckParts(const v1::Message& message, const std::string& field, Violations& violations) {
  violations.Check(message.parts_size() > 0, field + ".parts", "must not be empty");
  for (int i = 0; i < message.parts_size(); ++i) {
    const v1::Part& part = message.parts(i);
    const std::string part_field = absl::StrCat(field, ".parts[", i, "]");
    if (part.has_text()) {
      violations.Check(!part.text().empty(), part_field + ".text", "must not be empty");
      violations.Check(IsValidUtf8(part.text()), part_field + ".text", "must be valid UTF-8");
    } else if (part.has_image()) {
      violations.Check(!part.image().empty(), part_field + ".image", "must not be empty");
    } else {
      violations.Add(part_field, "must be text or an image");
    }
  }
}

// At most one picture, in a user message, and none for a model that knows no pictures.
void CheckImages(const v1::ChatRequest& request, bool takes_images, Violations& violations) {
  int images = 0;
  for (int i = 0; i < request.messages_size(); ++i) {
    const v1::Message& message = request.messages(i);
    for (int j = 0; j < message.parts_size(); ++j) {
      if (!message.parts(j).has_image()) continue;
      const std::string field = absl::StrCat(MessageField(i), ".parts[", j, "].image");
      violations.Check(takes_images, field, "this model takes no pictures");
      violations.Check(message.role() == v1::ROLE_USER, field,
                       "a picture can only stand in a user message");
      violations.Check(++images <= 1, field, "a conversation can hold one picture only");
    }
  }
}

void CheckMessages(const v1::ChatRequest& request, bool takes_images, Violations& violations) {
  const int count = request.messages_size();
  if (count == 0 || count > kMaxMessages) {
    violations.Add("messages", absl::StrCat("must hold 1 to ", kMaxMessages, " messages"));
    return;
  }
  CheckRoles(request, violations);
  for (int i = 0; i < count; ++i) CheckParts(request.messages(i), MessageField(i), violations);
  CheckImages(request, takes_images, violations);
}

// False for NaN.
bool InRange(float value, float low, float high) { return value >= low && value <= high; }

void CheckNumbers(const v1::Generation& generation, Violations& violations) {
  violations.Check(!generation.has_max_tokens() || generation.max_tokens() >= 1,
                   "generation.max_tokens", "must be at least 1");
  violations.Check(!generation.has_temperature() || generation.temperature() == 0 ||
                       InRange(generation.temperature(), kMinTemperature, kMaxTemperature),
                   "generation.temperature", "must be 0 or 0.01 to 10");
  violations.Check(
      !generation.has_top_p() || (generation.top_p() > 0 && InRange(generation.top_p(), 0, 1)),
      "generation.top_p", "must be above 0 and at most 1");
  violations.Check(!generation.has_top_k() || generation.top_k() >= 0, "generation.top_k",
                   "must not be negative");
  violations.Check(
      !generation.has_repetition_penalty() ||
          InRange(generation.repetition_penalty(), kMinRepetitionPenalty, kMaxRepetitionPenalty),
      "generation.repetition_penalty", "must be 0.1 to 10");
  violations.Check(!generation.has_logprobs() ||
                       (generation.logprobs() >= 0 && generation.logprobs() <= kMaxLogprobs),
                   "generation.logprobs", "must be 0 to 20");
}

void CheckStopStrings(const v1::Generation& generation, Violations& violations) {
  if (generation.stop_size() > kMaxStopStrings) {
    violations.Add("generation.stop",
                   absl::StrCat("must hold at most ", kMaxStopStrings, " strings"));
    return;
  }
  for (int i = 0; i < generation.stop_size(); ++i) {
    const std::string& stop = generation.stop(i);
    const std::string field = absl::StrCat("generation.stop[", i, "]");
    violations.Check(!stop.empty() && stop.size() <= kMaxStopStringBytes, field,
                     absl::StrCat("must be 1 to ", kMaxStopStringBytes, " bytes"));
    violations.Check(IsValidUtf8(stop), field, "must be valid UTF-8");
  }
}

SamplingParams TakeSampling(const v1::Generation& generation, SamplingParams sampling) {
  if (generation.has_temperature()) sampling.temperature = generation.temperature();
  if (generation.has_top_p()) sampling.top_p = generation.top_p();
  if (generation.has_top_k()) sampling.top_k = generation.top_k();
  if (generation.has_repetition_penalty()) {
    sampling.repetition_penalty = generation.repetition_penalty();
  }
  if (generation.has_seed()) sampling.seed = generation.seed();
  if (generation.has_logprobs()) sampling.top_logprobs = generation.logprobs();
  return sampling;
}

ChatMessage::Role ToRole(v1::Role role) {
  if (role == v1::ROLE_SYSTEM) return ChatMessage::Role::kSystem;
  return role == v1::ROLE_USER ? ChatMessage::Role::kUser : ChatMessage::Role::kAssistant;
}

void TakeMessages(v1::ChatRequest& request, ChatInput& input) {
  for (v1::Message& message : *request.mutable_messages()) {
    ChatMessage& taken = input.messages.emplace_back();
    taken.role = ToRole(message.role());
    for (v1::Part& part : *message.mutable_parts()) {
      if (part.has_image()) {
        taken.has_image = true;
        input.image = std::move(*part.mutable_image());
      } else {
        taken.text += part.text();
      }
    }
  }
}

}  // namespace

absl::Status ParseChatRequest(grpc::ByteBuffer* bytes, v1::ChatRequest* request) {
  using Traits = grpc::SerializationTraits<v1::ChatRequest>;
  if (HasTooManyFields(bytes)) {
    return InvalidFieldError({{"", absl::StrCat("must hold at most ", kMaxFields, " fields")}});
  }
  if (Traits::Deserialize(bytes, request).ok()) return absl::OkStatus();
  // The parser stops at a string that is not UTF-8, but it has stored it.
  Violations violations;
  CheckRequestId(request->request_id(), violations);
  for (int i = 0; i < request->messages_size(); ++i) {
    const v1::Message& message = request->messages(i);
    for (int j = 0; j < message.parts_size(); ++j) {
      violations.Check(IsValidUtf8(message.parts(j).text()),
                       absl::StrCat(MessageField(i), ".parts[", j, "].text"),
                       "must be valid UTF-8");
    }
  }
  CheckStopStrings(request->generation(), violations);
  GLIMPSE_RETURN_IF_ERROR(violations.ToStatus());
  return InvalidFieldError({{"", "the message is no glimpse.v1.ChatRequest"}});
}

absl::StatusOr<ChatInput> ValidateChatRequest(v1::ChatRequest request,
                                              const ValidationRules& rules) {
  Violations violations;
  CheckRequestId(request.request_id(), violations);
  CheckMessages(request, rules.takes_images, violations);
  CheckNumbers(request.generation(), violations);
  CheckStopStrings(request.generation(), violations);
  GLIMPSE_RETURN_IF_ERROR(violations.ToStatus());

  const v1::Generation& generation = request.generation();
  ChatInput input;
  input.request_id = request.request_id();
  input.sampling = TakeSampling(generation, rules.default_sampling);
  input.has_seed = generation.has_seed();
  if (generation.has_max_tokens()) input.max_tokens = generation.max_tokens();
  input.stop_strings.assign(generation.stop().begin(), generation.stop().end());
  input.ignore_stop_ids = generation.ignore_eos();
  TakeMessages(request, input);
  return input;
}

}  // namespace glimpse
