#include "server/admin_http.h"

#include <httplib.h>
#include <sys/socket.h>

#include <atomic>
#include <semaphore>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "preprocess/status_macros.h"
#include "server/operator_line.h"
#include "server/with_port.h"

namespace glimpse {
namespace {

constexpr int kThreads = 2;
constexpr int kConnections = 8;
constexpr int kTimeoutSeconds = 1;
constexpr char kTextFormat[] = "text/plain; version=0.0.4; charset=utf-8";
constexpr char kPlain[] = "text/plain; charset=utf-8";

// httplib's own queue is unbounded. Here the thread that accepts waits, so the kernel holds further
// connections and refuses those beyond the backlog: no flood takes the process' descriptors.
class BoundedThreads : public httplib::TaskQueue {
 public:
  void enqueue(std::function<void()> task) override {
    places_.acquire();
    threads_.enqueue([this, task = std::move(task)] {
      task();
      places_.release();
    });
  }
  void shutdown() override { threads_.shutdown(); }

 private:
  std::counting_semaphore<kConnections> places_{kConnections};
  httplib::ThreadPool threads_{kThreads};
};

struct Address {
  std::string host;
  int port = 0;
};

absl::StatusOr<Address> ParseAddress(const std::string& listen) {
  const size_t colon = listen.rfind(':');
  Address address;
  if (colon == std::string::npos || !absl::SimpleAtoi(listen.substr(colon + 1), &address.port) ||
      address.port < 0 || address.port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat(listen, " is not host:port"));
  }
  address.host = listen.substr(0, colon);
  if (address.host.size() >= 2 && address.host.front() == '[' && address.host.back() == ']') {
    address.host = address.host.substr(1, address.host.size() - 2);  // [::1]
  }
  return address;
}

}  // namespace

class AdminHttp::Impl {
 public:
  explicit Impl(AdminHttpOptions options) : options_(std::move(options)) {
    server_.new_task_queue = [] { return new BoundedThreads; };
    server_.set_keep_alive_max_count(1);  // a connection that waits would hold one of two threads
    server_.set_keep_alive_timeout(kTimeoutSeconds);  // also until a connection's first byte
    server_.set_read_timeout(kTimeoutSeconds);
    server_.set_write_timeout(kTimeoutSeconds);
    // httplib's default would let a second server share the port of the first unnoticed.
    server_.set_socket_options([](socket_t socket) {
      const int on = 1;
      setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    });
    // Before httplib reads a body: nothing here has one.
    server_.set_pre_routing_handler([this](const auto& request, auto& response) {
      Answer(request, response);
      return httplib::Server::HandlerResponse::Handled;
    });
  }

  ~Impl() {
    if (!thread_.joinable()) return;
    server_.stop();
    thread_.join();
  }

  // The port, or a negative number.
  int Listen(const Address& address) {
    const int port = address.port == 0 ? server_.bind_to_any_port(address.host)
                     : server_.bind_to_port(address.host, address.port) ? address.port
                                                                        : -1;
    if (port < 0) return port;
    thread_ = std::thread([this] {
      if (!server_.listen_after_bind()) TellOperator("the admin port has failed");
      ended_ = true;
    });
    // A stop before the thread listens would be lost.
    while (!server_.is_running() && !ended_) std::this_thread::yield();
    return port;
  }

 private:
  void Answer(const httplib::Request& request, httplib::Response& response) const {
    const bool reads = request.method == "GET" || request.method == "HEAD";
    if (reads && request.path == "/metrics") {
      response.status = 200;
      response.set_content(options_.metrics_text(), kTextFormat);
    } else if (reads && request.path == "/healthz") {
      AnswerHealth(options_.is_live(), response);
    } else if (reads && request.path == "/readyz") {
      AnswerHealth(options_.is_ready(), response);
    } else {
      response.status = 404;
      response.set_content("not found\n", kPlain);
    }
  }

  static void AnswerHealth(bool good, httplib::Response& response) {
    response.status = good ? 200 : 503;
    response.set_content(good ? "ok\n" : "not ok\n", kPlain);
  }

  const AdminHttpOptions options_;
  httplib::Server server_;
  std::atomic<bool> ended_ = false;
  std::thread thread_;
};

absl::StatusOr<std::unique_ptr<AdminHttp>> AdminHttp::Start(AdminHttpOptions options) {
  GLIMPSE_ASSIGN_OR_RETURN(const Address address, ParseAddress(options.listen));
  const std::string listen = options.listen;
  auto impl = std::make_unique<Impl>(std::move(options));
  const int port = impl->Listen(address);
  if (port < 0) {
    return absl::UnavailableError(absl::StrCat("can't listen on ", listen,
                                               " for the metrics: the address is in use or not "
                                               "this machine's"));
  }
  return std::unique_ptr<AdminHttp>(new AdminHttp(std::move(impl), WithPort(listen, port)));
}

AdminHttp::AdminHttp(std::unique_ptr<Impl> impl, std::string address)
    : impl_(std::move(impl)), address_(std::move(address)) {}

AdminHttp::~AdminHttp() = default;

}  // namespace glimpse
