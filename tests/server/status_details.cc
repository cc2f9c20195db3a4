#include "tests/server/status_details.h"

#include <catch2/catch.hpp>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/status.h"

namespace glimpse {

StatusDetails DetailsOf(const grpc::Status& status) {
  google::rpc::Status wire;
  REQUIRE(wire.ParseFromString(status.error_details()));
  REQUIRE(wire.code() == static_cast<int>(status.error_code()));
  REQUIRE(wire.message() == status.error_message());
  StatusDetails details;
  for (const google::protobuf::Any& any : wire.details()) {
    google::rpc::ErrorInfo info;
    google::rpc::BadRequest bad_request;
    google::rpc::RetryInfo retry;
    if (any.UnpackTo(&info)) {
      details.reason = info.reason();
      details.domain = info.domain();
      details.metadata.insert(info.metadata().begin(), info.metadata().end());
    } else if (any.UnpackTo(&bad_request)) {
      for (const auto& violation : bad_request.field_violations()) {
        details.violations.emplace(violation.field(), violation.description());
      }
    } else if (any.UnpackTo(&retry)) {
      details.has_retry = true;
      details.retry_seconds = retry.retry_delay().seconds();
    } else {
      FAIL("unknown detail " << any.type_url());
    }
  }
  return details;
}

StatusDetails DetailsOf(const absl::Status& status) { return DetailsOf(ToGrpcStatus(status)); }

}  // namespace glimpse
