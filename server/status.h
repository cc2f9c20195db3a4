// The errors that clients see: one builder for each row of the public contract.
//
// Inside the server they travel as absl::Status whose payloads are the public details
// (google.rpc.ErrorInfo with domain "glimpse", BadRequest, RetryInfo); `ToGrpcStatus` puts them on
// the wire. A status without an ErrorInfo comes from the scheduler or the engine; it is mapped to
// its row by its code, and its text stays here. So no text reaches a client but the fixed ones of
// status.cc, filled in with numbers and field names at most.
//
// Pure functions, safe for all threads.
#ifndef GLIMPSE_SERVER_STATUS_H_
#define GLIMPSE_SERVER_STATUS_H_

#include <grpcpp/support/status.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "preprocess/image_header.h"

namespace glimpse {

struct FieldViolation {
  std::string field;  // path in the request, e.g. "messages[2].parts[0].text"
  std::string description;
};

// INVALID_ARGUMENT INVALID_FIELD. `violations` is not empty.
absl::Status InvalidFieldError(const std::vector<FieldViolation>& violations);

// INVALID_ARGUMENT IMAGE_TOO_LARGE (with all limits), IMAGE_UNSUPPORTED or IMAGE_CORRUPT. `error`
// comes from ImagePipeline; one that is not about the picture is an engine fault.
absl::Status ImageError(const absl::Status& error, const ImageLimits& limits);

// INVALID_ARGUMENT CONTEXT_TOO_LONG. `max_tokens`: 1 where the client left it open.
absl::Status ContextTooLongError(int64_t prompt_tokens, int64_t max_tokens, int64_t max_context);

absl::Status QueueFullError();    // RESOURCE_EXHAUSTED QUEUE_FULL, retry later
absl::Status SlowReaderError();   // RESOURCE_EXHAUSTED SLOW_READER
absl::Status DeadlineError();     // DEADLINE_EXCEEDED DEADLINE_EXCEEDED
absl::Status CancelledError();    // CANCELLED CANCELLED
absl::Status LoadingError();      // UNAVAILABLE LOADING, retry later
absl::Status DrainingError();     // UNAVAILABLE DRAINING, retry (elsewhere) soon
absl::Status EngineFaultError();  // INTERNAL ENGINE_FAULT

// See above. OK stays OK.
grpc::Status ToGrpcStatus(const absl::Status& status);

// The same in two words, for logs and metrics: {"CANCELLED", "CANCELLED"}; OK is {"OK", ""}.
struct StatusWords {
  std::string code;    // gRPC's name for it
  std::string reason;  // of the ErrorInfo
};
StatusWords ToWords(const absl::Status& status);

}  // namespace glimpse

#endif  // GLIMPSE_SERVER_STATUS_H_
