// What the flags say, checked: the one place that reads them.
#ifndef GLIMPSE_SERVER_CONFIG_H_
#define GLIMPSE_SERVER_CONFIG_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/engine.h"
#include "engine/schedule/batch_policy.h"
#include "engine/schedule/request_queue.h"
#include "preprocess/image_header.h"
#include "server/grpc_server.h"

namespace glimpse {

struct ServerConfig {
  EngineOptions engine;  // without `progress`, which ServerMain adds
  BatchPolicyKind batch_policy = BatchPolicyKind::kAuto;
  RequestQueueOptions queue;
  ImageLimits images;
  GrpcServerOptions grpc;
  std::string admin_listen;  // host:port; empty: no admin port
  bool request_log = false;  // on standard error
  absl::Duration stall_timeout = absl::Seconds(30);
  absl::Duration drain_timeout = absl::Seconds(30);
  absl::Duration liveness_timeout = absl::Seconds(30);
  int preprocess_threads = 4;
  bool print_config = false;
};

// INVALID_ARGUMENT, in one line with the flag's name, for a value that is out of range: a zero that
// would mean "no limit" is. After absl::ParseCommandLine.
absl::StatusOr<ServerConfig> ConfigFromFlags();

// All flags of the server with the values in force, one "--name=value" a line: a flag file.
std::string ConfigText();

}  // namespace glimpse

#endif  // GLIMPSE_SERVER_CONFIG_H_
