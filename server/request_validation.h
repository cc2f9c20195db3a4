// What arrives from a client -> what the server works with. Every violation of the contract is
// collected, so that a client learns of all of them at once.
//
// Pure functions, safe for all threads.
#ifndef GLIMPSE_SERVER_REQUEST_VALIDATION_H_
#define GLIMPSE_SERVER_REQUEST_VALIDATION_H_

#include <grpcpp/support/byte_buffer.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/schedule/request.h"
#include "glimpse/v1/chat.pb.h"
#include "preprocess/chat_template.h"

namespace glimpse {

// A valid request, before tokenising and decoding.
struct ChatInput {
  std::string request_id;  // "" if the client gave none
  std::vector<ChatMessage> messages;
  std::string image;  // the file's bytes; empty without a picture
  SamplingParams sampling;
  bool has_seed = false;          // sampling.seed is the client's
  std::optional<int> max_tokens;  // as the client gave it
  std::vector<std::string> stop_strings;
  bool ignore_stop_ids = false;
};

// What a request is judged by, besides the contract.
struct ValidationRules {
  SamplingParams default_sampling;  // for absent fields
  bool takes_images = true;         // false: a text-only checkpoint
};

// Parses one message off the wire and takes its bytes. INVALID_FIELD, too, for what is no
// ChatRequest at all: gRPC's own answer to that would be a misleading UNIMPLEMENTED. `*request`
// then holds what was read so far.
absl::Status ParseChatRequest(grpc::ByteBuffer* bytes, v1::ChatRequest* request);

// INVALID_FIELD with all violations, or the request's contents, moved out of it.
absl::StatusOr<ChatInput> ValidateChatRequest(v1::ChatRequest request,
                                              const ValidationRules& rules);

}  // namespace glimpse

#endif  // GLIMPSE_SERVER_REQUEST_VALIDATION_H_
