// The gRPC server around the service: address, limits, keepalive, health, reflection.
#ifndef GLIMPSE_SERVER_GRPC_SERVER_H_
#define GLIMPSE_SERVER_GRPC_SERVER_H_

#include <grpcpp/server.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace glimpse {

struct GrpcServerOptions {
  std::string listen = "127.0.0.1:50051";  // host:port; port 0: any free one
  int64_t max_message_bytes = 20 << 20;    // of a received message
  int64_t max_receiving_bytes = 1 << 30;   // of all connections' buffers; then some are closed
  absl::Duration keepalive_time = absl::Seconds(60);     // of silence, before the server pings
  absl::Duration keepalive_timeout = absl::Seconds(20);  // of no answer, or no first word: hangs up
  int max_concurrent_streams = 256;                      // of a connection
  absl::Duration max_connection_age = absl::Hours(1);    // then GOAWAY; running calls go on
  bool reflection = true;
};

// Health: "liveness" follows SetLive and begins SERVING; "readiness", "" and
// "glimpse.v1.ChatService" follow SetReady and begin NOT_SERVING. All safe for all threads.
class GrpcServer {
 public:
  // Listens at once. UNAVAILABLE: the address can't be listened on. `service` outlives the server.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(const GrpcServerOptions& options,
                                                           grpc::Service* service);
  // Ends as Shutdown without waiting, if that was not called.
  ~GrpcServer();

  void SetReady(bool ready);
  void SetLive(bool live);
  // NOT_SERVING everywhere, for good: what is set later changes nothing.
  void Fail();

  // What health says of "readiness" and "liveness".
  bool ready() const { return ready_ && !failed_; }
  bool live() const { return live_ && !failed_; }

  // Closes the port, waits for the calls at most `timeout`, then cancels them.
  void Shutdown(absl::Duration timeout);

  // Where it listens, with the real port.
  const std::string& address() const { return address_; }

  // A channel that needs no port: for tests.
  std::shared_ptr<grpc::Channel> InProcessChannel();

 private:
  GrpcServer(std::unique_ptr<grpc::Server> server, std::string address);

  const std::unique_ptr<grpc::Server> server_;
  const std::string address_;
  std::atomic<bool> ready_ = false;
  std::atomic<bool> live_ = true;
  std::atomic<bool> failed_ = false;
};

}  // namespace glimpse

#endif  // GLIMPSE_SERVER_GRPC_SERVER_H_
