#include "server/status.h"

#include <map>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace glimpse {
namespace {

constexpr char kTypePrefix[] = "type.googleapis.com/";
constexpr char kErrorInfoUrl[] = "type.googleapis.com/google.rpc.ErrorInfo";

// Long enough for a step or two to free a place, short enough not to leave the GPU idle.
constexpr absl::Duration kQueueRetryDelay = absl::Seconds(1);
constexpr absl::Duration kLoadingRetryDelay = absl::Seconds(5);
constexpr absl::Duration kDrainingRetryDelay = absl::Seconds(1);

using Metadata = std::map<std::string, std::string>;

template <typename Message>
void AddDetail(const Message& message, absl::Status& status) {
  status.SetPayload(absl::StrCat(kTypePrefix, message.GetDescriptor()->full_name()),
                    absl::Cord(message.SerializeAsString()));
}

absl::Status MakeError(absl::StatusCode code, absl::string_view reason, absl::string_view text,
                       const Metadata& metadata = {}) {
  google::rpc::ErrorInfo info;
  info.set_reason(std::string(reason));
  info.set_domain("glimpse");
  info.mutable_metadata()->insert(metadata.begin(), metadata.end());
  absl::Status status(code, text);
  AddDetail(info, status);
  return status;
}

absl::Status WithRetry(absl::Status status, absl::Duration delay) {
  google::rpc::RetryInfo retry;
  retry.mutable_retry_delay()->set_seconds(absl::ToInt64Seconds(delay));
  AddDetail(retry, status);
  return status;
}

// The row of a status that the scheduler or the engine made.
absl::Status RowOf(const absl::Status& status) {
  if (absl::IsDeadlineExceeded(status)) return DeadlineError();
  if (absl::IsCancelled(status)) return CancelledError();
  if (absl::IsUnavailable(status)) return DrainingError();
  return EngineFaultError();
}

}  // namespace

absl::Status InvalidFieldError(const std::vector<FieldViolation>& violations) {
  absl::Status status = MakeError(absl::StatusCode::kInvalidArgument, "INVALID_FIELD",
                                  "the request has invalid fields; see the details");
  google::rpc::BadRequest details;
  for (const FieldViolation& violation : violations) {
    google::rpc::BadRequest::FieldViolation* added = details.add_field_violations();
    added->set_field(violation.field);
    added->set_description(violation.description);
  }
  AddDetail(details, status);
  return status;
}

absl::Status ImageError(const absl::Status& error, const ImageLimits& limits) {
  const std::string_view reason = ImageErrorReason(error);
  const auto make = [&](absl::string_view text, const Metadata& metadata) {
    return MakeError(absl::StatusCode::kInvalidArgument,
                     absl::string_view(reason.data(), reason.size()), text, metadata);
  };
  if (reason == "IMAGE_TOO_LARGE") {
    return make("the picture is larger than this server accepts",
                {{"max_image_bytes", absl::StrCat(limits.max_bytes)},
                 {"max_image_pixels", absl::StrCat(limits.max_pixels)},
                 {"max_image_side", absl::StrCat(limits.max_side)}});
  }
  if (reason == "IMAGE_UNSUPPORTED") return make("the picture is not a JPEG, PNG or WebP file", {});
  if (reason == "IMAGE_CORRUPT") return make("the picture file is cut or broken", {});
  return EngineFaultError();
}

absl::Status ContextTooLongError(int64_t prompt_tokens, int64_t max_tokens, int64_t max_context) {
  return MakeError(absl::StatusCode::kInvalidArgument, "CONTEXT_TOO_LONG",
                   absl::StrCat("the prompt's ", prompt_tokens, " tokens and max_tokens of ",
                                max_tokens, " exceed the context of ", max_context),
                   {{"prompt_tokens", absl::StrCat(prompt_tokens)},
                    {"max_tokens", absl::StrCat(max_tokens)},
                    {"max_context_tokens", absl::StrCat(max_context)}});
}

absl::Status QueueFullError() {
  return WithRetry(
      MakeError(absl::StatusCode::kResourceExhausted, "QUEUE_FULL", "too many requests wait"),
      kQueueRetryDelay);
}

absl::Status SlowReaderError() {
  return MakeError(absl::StatusCode::kResourceExhausted, "SLOW_READER",
                   "the client reads more slowly than the answer is written");
}

absl::Status DeadlineError() {
  return MakeError(absl::StatusCode::kDeadlineExceeded, "DEADLINE_EXCEEDED",
                   "the deadline passed before the answer was complete");
}

absl::Status CancelledError() {
  return MakeError(absl::StatusCode::kCancelled, "CANCELLED", "the client cancelled the call");
}

absl::Status LoadingError() {
  return WithRetry(
      MakeError(absl::StatusCode::kUnavailable, "LOADING", "the model is still being loaded"),
      kLoadingRetryDelay);
}

absl::Status DrainingError() {
  return WithRetry(
      MakeError(absl::StatusCode::kUnavailable, "DRAINING", "the server is shutting down"),
      kDrainingRetryDelay);
}

absl::Status EngineFaultError() {
  return MakeError(absl::StatusCode::kInternal, "ENGINE_FAULT", "the engine failed");
}

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  if (!status.GetPayload(kErrorInfoUrl).has_value()) return ToGrpcStatus(RowOf(status));
  google::rpc::Status wire;
  wire.set_code(static_cast<int>(status.code()));  // absl's codes are gRPC's
  wire.set_message(std::string(status.message()));
  status.ForEachPayload([&](absl::string_view type_url, const absl::Cord& payload) {
    google::protobuf::Any* detail = wire.add_details();
    detail->set_type_url(std::string(type_url));
    detail->set_value(std::string(payload));
  });
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), wire.message(),
                      wire.SerializeAsString());
}

StatusWords ToWords(const absl::Status& status) {
  if (status.ok()) return {"OK", ""};
  const absl::optional<absl::Cord> payload = status.GetPayload(kErrorInfoUrl);
  if (!payload.has_value()) return ToWords(RowOf(status));
  google::rpc::ErrorInfo info;
  info.ParseFromString(std::string(*payload));
  return {absl::StatusCodeToString(status.code()), info.reason()};
}

}  // namespace glimpse
