#include "server/request_log.h"

#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <nlohmann/json.hpp>
#include <string>

#include "server/operator_line.h"

namespace glimpse {
namespace {

absl::Time At(double seconds) { return absl::UnixEpoch() + absl::Seconds(seconds); }

RequestRecord Answered() {
  RequestRecord record;
  record.request_id = "abc-1";
  record.message_bytes = 812;
  record.prompt_tokens = 31;
  record.code = "OK";
  record.reason = "STOP";
  record.completion.completion_tokens = 4;
  record.completion.times = {.arrived = At(10),
                             .enqueued = At(10.25),
                             .admitted = At(10.5),
                             .encoded = absl::InfinitePast(),
                             .first_token = At(11.0001234),
                             .finished = At(12)};
  record.arrived = At(10);
  record.ended = At(12.5);
  return record;
}

// A pipe, whose reader takes nothing until it is asked.
struct Pipe {
  Pipe() { REQUIRE(pipe2(ends, O_NONBLOCK) == 0); }
  ~Pipe() {
    Close();
    close(ends[1]);
  }
  void Close() {
    if (ends[0] >= 0) close(ends[0]);
    ends[0] = -1;
  }
  std::string Read() {
    std::string text(1 << 20, ' ');
    const ssize_t size = read(ends[0], text.data(), text.size());
    return text.substr(0, size < 0 ? 0 : static_cast<size_t>(size));
  }
  int ends[2];
};

TEST_CASE("a line has sizes, stage times in milliseconds and the end") {
  CHECK(RequestLogLine(Answered(), 0) ==
        R"({"time":"1970-01-01T00:00:12.500Z","request_id":"abc-1","code":"OK","reason":"STOP",)"
        R"("message_bytes":812,"prompt_tokens":31,"image_tokens":0,"completion_tokens":4,)"
        R"("preprocess_ms":250.0,"queue_ms":250.0,"prefill_ms":500.123,"decode_ms":999.877,)"
        R"("first_token_ms":1000.123,"total_ms":2500.0})");
}

TEST_CASE("a picture adds its own") {
  RequestRecord record = Answered();
  record.image = {5000, 640 * 480, absl::Milliseconds(7), absl::Microseconds(1500)};
  record.image_tokens = 6;
  record.completion.times.encoded = At(10.75);
  const auto line = nlohmann::json::parse(RequestLogLine(record, 0));
  CHECK(line["image_bytes"] == 5000);
  CHECK(line["image_pixels"] == 307200);
  CHECK(line["image_decode_ms"] == 7.0);
  CHECK(line["image_resize_ms"] == 1.5);
  CHECK(line["image_tokens"] == 6);
  CHECK(line["vision_ms"] == 250.0);
  CHECK(line["prefill_ms"] == 250.123);
}

TEST_CASE("a call that was refused has only what is known of it") {
  RequestRecord record;
  record.message_bytes = 9;
  record.code = "UNAVAILABLE";
  record.reason = "LOADING";
  record.arrived = At(1);
  record.ended = At(1.0005);
  CHECK(RequestLogLine(record, 3) ==
        R"({"time":"1970-01-01T00:00:01.000Z","code":"UNAVAILABLE","reason":"LOADING",)"
        R"("message_bytes":9,"total_ms":0.5,"lines_lost":3})");
}

TEST_CASE("a log that nobody reads loses lines and holds nobody up") {
  Pipe pipe;
  RequestLog log(pipe.ends[1]);
  const size_t length = RequestLogLine(Answered(), 0).size() + 1;
  int lines = 0;
  for (; lines < 10000; ++lines) log.Write(Answered());
  std::string text;
  for (std::string more = pipe.Read(); !more.empty(); more = pipe.Read()) text += more;
  REQUIRE(text.size() % length == 0);  // whole lines only
  const int taken = static_cast<int>(text.size() / length);
  CHECK(taken > 0);
  CHECK(taken < lines);

  log.Write(Answered());
  CHECK(nlohmann::json::parse(pipe.Read())["lines_lost"] == lines - taken);
  log.Write(Answered());
  CHECK_FALSE(nlohmann::json::parse(pipe.Read()).contains("lines_lost"));
}

TEST_CASE("a line for the operator is lost, not waited for, where nobody reads") {
  Pipe pipe;
  fcntl(pipe.ends[1], F_SETFL, 0);  // a write that doesn't fit would wait, as on standard error
  int lines = 0;
  while (TryWriteLine(pipe.ends[1], std::string(3000, 'x'))) ++lines;
  CHECK(lines > 0);
  CHECK_FALSE(TryWriteLine(pipe.ends[1], "short"));
  while (!pipe.Read().empty()) continue;
  // What is longer than a pipe takes whole is cut.
  CHECK(TryWriteLine(pipe.ends[1], std::string(1 << 20, 'y')));
  CHECK(pipe.Read() == std::string(PIPE_BUF - 1, 'y') + "\n");
}

TEST_CASE("a log whose reader has left is no fault") {
  const auto before = std::signal(SIGPIPE, SIG_IGN);  // as in the server
  Pipe pipe;
  pipe.Close();
  RequestLog log(pipe.ends[1]);
  log.Write(Answered());
  log.Write(Answered());
  std::signal(SIGPIPE, before);
  CHECK(fcntl(pipe.ends[1], F_GETFD) >= 0);
}

}  // namespace
}  // namespace glimpse
