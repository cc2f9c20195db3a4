// The operator's port, plain HTTP: /metrics, /healthz (200 or 503: is the process of use, or to be
// started anew?) and /readyz (200 or 503: does it take calls?). Anything else is 404.
//
// It is for a network that is trusted: no TLS, no password. What a scraper does wrong costs this
// port alone: two threads, a few connections at a time, one request without a body each, and a
// second of silence, sending or taking, at most. Two peers that send a byte now and then, and never
// a whole request, hold both threads for as long as they like: where not everyone who reaches the
// port is trusted, ask gRPC's health for "liveness" instead of /healthz.
#ifndef GLIMPSE_SERVER_ADMIN_HTTP_H_
#define GLIMPSE_SERVER_ADMIN_HTTP_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace glimpse {

struct AdminHttpOptions {
  std::string listen = "127.0.0.1:9090";  // host:port; port 0: any free one
  // Called on the port's threads, two at a time; they outlive it.
  std::function<std::string()> metrics_text;
  std::function<bool()> is_live;
  std::function<bool()> is_ready;
};

class AdminHttp {
 public:
  // Listens at once. INVALID_ARGUMENT: `listen` is not host:port; UNAVAILABLE: the address can't be
  // listened on.
  static absl::StatusOr<std::unique_ptr<AdminHttp>> Start(AdminHttpOptions options);
  // Ends the answers that are being written, within seconds.
  ~AdminHttp();
  AdminHttp(const AdminHttp&) = delete;
  AdminHttp& operator=(const AdminHttp&) = delete;

  // Where it listens, with the real port.
  const std::string& address() const { return address_; }

 private:
  class Impl;  // keeps httplib out of this header
  AdminHttp(std::unique_ptr<Impl> impl, std::string address);

  const std::unique_ptr<Impl> impl_;
  const std::string address_;
};

}  // namespace glimpse

#endif  // GLIMPSE_SERVER_ADMIN_HTTP_H_
