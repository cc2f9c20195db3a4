#include "server/admin_http.h"

#include <httplib.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace glimpse {
namespace {

struct Fixture {
  Fixture() {
    AdminHttpOptions options;
    options.listen = "127.0.0.1:0";
    options.metrics_text = [this] { return text; };
    options.is_live = [this] { return live.load(); };
    options.is_ready = [this] { return ready.load(); };
    auto started = AdminHttp::Start(std::move(options));
    REQUIRE(started.ok());
    admin = *std::move(started);
  }

  httplib::Client Client() const {
    httplib::Client client(absl::StrCat("http://", admin->address()));
    client.set_read_timeout(std::chrono::seconds(60));
    return client;
  }
  int Status(const std::string& path) const {
    const httplib::Result result = Client().Get(path);
    REQUIRE(result);
    return result->status;
  }

  std::string text = "metric 1\n";
  std::atomic<bool> live = true, ready = false;
  std::unique_ptr<AdminHttp> admin;
};

// A connection that says `text` and then nothing, for as long as it lives.
class Stalled {
 public:
  Stalled(const std::string& address, const std::string& text)
      : socket_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in to = {};
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(address.find(':') + 1))));
    REQUIRE(connect(socket_, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) == 0);
    REQUIRE(send(socket_, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()));
  }
  ~Stalled() { close(socket_); }
  Stalled(const Stalled&) = delete;
  Stalled& operator=(const Stalled&) = delete;

 private:
  const int socket_;
};

TEST_CASE("metrics are served in the format that they say they are") {
  const Fixture fixture;
  const httplib::Result result = fixture.Client().Get("/metrics");
  REQUIRE(result);
  CHECK(result->status == 200);
  CHECK(result->get_header_value("Content-Type") == "text/plain; version=0.0.4; charset=utf-8");
  CHECK(result->body == "metric 1\n");
}

TEST_CASE("health follows the process") {
  Fixture fixture;
  CHECK(fixture.Status("/healthz") == 200);
  CHECK(fixture.Status("/readyz") == 503);
  fixture.ready = true;
  fixture.live = false;
  CHECK(fixture.Status("/healthz") == 503);
  CHECK(fixture.Status("/readyz") == 200);
}

TEST_CASE("there is nothing else") {
  const Fixture fixture;
  for (const char* path : {"/", "/metrics/", "/metrics/x", "/../etc/passwd", "/healthz%00"}) {
    CHECK(fixture.Status(path) == 404);
  }
  const httplib::Result posted =
      fixture.Client().Post("/metrics", std::string(1 << 20, 'x'), "text/plain");
  if (posted) CHECK(posted->status == 404);  // or the connection ends before all is sent
}

TEST_CASE("an admin address that is taken is refused, not shared") {
  const Fixture fixture;
  AdminHttpOptions options;
  options.listen = fixture.admin->address();
  const auto second = AdminHttp::Start(options);
  CHECK(absl::IsUnavailable(second.status()));
  CHECK(std::string(second.status().message()).find(options.listen) != std::string::npos);
}

TEST_CASE("an admin address must be one") {
  for (const char* listen :
       {"127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "127.0.0.1:-1"}) {
    AdminHttpOptions options;
    options.listen = listen;
    CHECK(absl::IsInvalidArgument(AdminHttp::Start(options).status()));
  }
}

TEST_CASE("scrapers that stall give way to one that does not") {
  const Fixture fixture;
  std::vector<std::unique_ptr<Stalled>> stalled;
  for (int i = 0; i < 4; ++i) {
    stalled.push_back(std::make_unique<Stalled>(fixture.admin->address(),
                                                i % 2 == 0 ? "" : "GET /metrics HTTP/1.1\r\n"));
  }
  CHECK(fixture.Status("/metrics") == 200);
}

TEST_CASE("the port ends while scrapers stall") {
  auto fixture = std::make_unique<Fixture>();
  const std::string address = fixture->admin->address();
  const Stalled first(address, "GET");
  CHECK(fixture->Status("/healthz") == 200);  // by the other thread: the first has been accepted
  const Stalled second(address, ""), third(address, "GET /metrics HTTP/1.1\r\n");
  fixture.reset();
  httplib::Client client(absl::StrCat("http://", address));
  CHECK_FALSE(client.Get("/healthz"));
}

TEST_CASE("a connection answers one request and is closed") {
  const Fixture fixture;
  httplib::Client client = fixture.Client();
  client.set_keep_alive(true);
  const httplib::Result result = client.Get("/healthz");
  REQUIRE(result);
  CHECK(result->get_header_value("Connection") == "close");
}

}  // namespace
}  // namespace glimpse
