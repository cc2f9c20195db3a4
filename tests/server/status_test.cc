#include "server/status.h"

#include <catch2/catch.hpp>

#include "tests/server/status_details.h"

namespace glimpse {
namespace {

TEST_CASE("each error carries its reason, our domain and what the contract adds") {
  SECTION("invalid fields come all together") {
    const grpc::Status status =
        ToGrpcStatus(InvalidFieldError({{"a", "must be 1"}, {"b[2]", "must be 2"}}));
    CHECK(status.error_code() == grpc::StatusCode::INVALID_ARGUMENT);
    const StatusDetails details = DetailsOf(status);
    CHECK(details.reason == "INVALID_FIELD");
    CHECK(details.domain == "glimpse");
    CHECK(details.violations ==
          std::multimap<std::string, std::string>{{"a", "must be 1"}, {"b[2]", "must be 2"}});
  }
  SECTION("a context that is too long comes with the counts") {
    const StatusDetails details = DetailsOf(ContextTooLongError(100, 30, 128));
    CHECK(details.reason == "CONTEXT_TOO_LONG");
    CHECK(details.metadata == std::map<std::string, std::string>{{"prompt_tokens", "100"},
                                                                 {"max_tokens", "30"},
                                                                 {"max_context_tokens", "128"}});
  }
  SECTION("a full queue says when to try again") {
    const grpc::Status status = ToGrpcStatus(QueueFullError());
    CHECK(status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED);
    CHECK(DetailsOf(status).reason == "QUEUE_FULL");
    CHECK(DetailsOf(status).retry_seconds >= 1);
  }
  SECTION("loading and draining say when to try again") {
    CHECK(ToGrpcStatus(LoadingError()).error_code() == grpc::StatusCode::UNAVAILABLE);
    CHECK(DetailsOf(LoadingError()).has_retry);
    CHECK(ToGrpcStatus(DrainingError()).error_code() == grpc::StatusCode::UNAVAILABLE);
    CHECK(DetailsOf(DrainingError()).has_retry);
  }
  SECTION("a slow reader") {
    CHECK(ToGrpcStatus(SlowReaderError()).error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED);
    CHECK(DetailsOf(SlowReaderError()).reason == "SLOW_READER");
    CHECK_FALSE(DetailsOf(SlowReaderError()).has_retry);
  }
}

TEST_CASE("an end in two words is what the client is told") {
  const auto words = [](const absl::Status& status) {
    const StatusWords two = ToWords(status);
    return two.code + " " + two.reason;
  };
  CHECK(words(absl::OkStatus()) == "OK ");
  CHECK(words(QueueFullError()) == "RESOURCE_EXHAUSTED QUEUE_FULL");
  CHECK(words(InvalidFieldError({{"a", "b"}})) == "INVALID_ARGUMENT INVALID_FIELD");
  CHECK(words(absl::DeadlineExceededError("late")) == "DEADLINE_EXCEEDED DEADLINE_EXCEEDED");
  CHECK(words(absl::CancelledError("gone")) == "CANCELLED CANCELLED");
  CHECK(words(absl::UnknownError("of the engine")) == "INTERNAL ENGINE_FAULT");
}

TEST_CASE("a picture's error keeps its reason and loses its text") {
  const ImageLimits limits{10, 20, 30};
  const StatusDetails large = DetailsOf(ImageError(ImageTooLarge("11 bytes"), limits));
  CHECK(large.reason == "IMAGE_TOO_LARGE");
  CHECK(large.metadata == std::map<std::string, std::string>{{"max_image_bytes", "10"},
                                                             {"max_image_pixels", "20"},
                                                             {"max_image_side", "30"}});
  const grpc::Status unsupported = ToGrpcStatus(ImageError(ImageUnsupported("/tmp/x"), limits));
  CHECK(unsupported.error_code() == grpc::StatusCode::INVALID_ARGUMENT);
  CHECK(DetailsOf(unsupported).reason == "IMAGE_UNSUPPORTED");
  CHECK(unsupported.error_message().find("/tmp") == std::string::npos);
  CHECK(DetailsOf(ImageError(ImageCorrupt(), limits)).reason == "IMAGE_CORRUPT");
  CHECK(DetailsOf(ImageError(absl::InternalError("decoder"), limits)).reason == "ENGINE_FAULT");
}

TEST_CASE("what scheduler and engine say reaches a client as a row of the table only") {
  const auto reason = [](const absl::Status& status) {
    const grpc::Status mapped = ToGrpcStatus(status);
    CHECK(mapped.error_message().find("secret") == std::string::npos);
    return DetailsOf(mapped).reason;
  };
  CHECK(reason(absl::DeadlineExceededError("secret")) == "DEADLINE_EXCEEDED");
  CHECK(reason(absl::CancelledError("secret")) == "CANCELLED");
  CHECK(reason(absl::UnavailableError("secret")) == "DRAINING");
  CHECK(reason(absl::InternalError("secret at 0x7f00")) == "ENGINE_FAULT");
  CHECK(reason(absl::ResourceExhaustedError("secret: CUDA out of memory")) == "ENGINE_FAULT");
  CHECK(ToGrpcStatus(absl::UnknownError("x")).error_code() == grpc::StatusCode::INTERNAL);
  CHECK(ToGrpcStatus(absl::OkStatus()).ok());
}

}  // namespace
}  // namespace glimpse
