// The details of an error, as tests read them.
#ifndef GLIMPSE_TESTS_SERVER_STATUS_DETAILS_H_
#define GLIMPSE_TESTS_SERVER_STATUS_DETAILS_H_

#include <grpcpp/support/status.h>

#include <map>
#include <string>

#include "absl/status/status.h"

namespace glimpse {

struct StatusDetails {
  std::string reason;  // of the ErrorInfo
  std::string domain;
  std::map<std::string, std::string> metadata;
  std::multimap<std::string, std::string> violations;  // field -> description
  bool has_retry = false;
  int64_t retry_seconds = 0;
};

// Reads google.rpc.Status off the wire form. Fails the test where it disagrees with `status`.
StatusDetails DetailsOf(const grpc::Status& status);
StatusDetails DetailsOf(const absl::Status& status);

}  // namespace glimpse

#endif  // GLIMPSE_TESTS_SERVER_STATUS_DETAILS_H_
