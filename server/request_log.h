// One JSON line for each Chat call that has ended: sizes, stage times, code; no text, no picture.
#ifndef GLIMPSE_SERVER_REQUEST_LOG_H_
#define GLIMPSE_SERVER_REQUEST_LOG_H_

#include <atomic>
#include <cstdint>
#include <string>

#include "server/request_record.h"

namespace glimpse {

// The line, without its end:
//   {"time":"2026-01-02T03:04:05.678Z","request_id":"7d..","code":"OK","reason":"STOP",
//    "message_bytes":812,"prompt_tokens":31,..,"queue_ms":0.214,..,"total_ms":913.4}
// Stages and pictures that were not there are left out. `lost` > 0 stands in it as "lines_lost".
std::string RequestLogLine(const RequestRecord& record, int64_t lost);

// Safe for all threads, and never waits for whoever reads the log: a line that the descriptor
// doesn't take at once (operator_line.h) is lost, and the next one that it takes says how many
// were.
class RequestLog {
 public:
  // `descriptor`: a file, terminal, pipe or socket, open as long as this lives.
  explicit RequestLog(int descriptor) : descriptor_(descriptor) {}

  void Write(const RequestRecord& record);

 private:
  const int descriptor_;
  std::atomic<int64_t> lost_ = 0;  // since the last line that was taken
};

}  // namespace glimpse

#endif  // GLIMPSE_SERVER_REQUEST_LOG_H_
