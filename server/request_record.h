// What one Chat call was, what it took and how it ended: filled in on the way by whoever has the
// call's turn, and read once, at its end, by Metrics and RequestLog. Holds sizes, times and our own
// words, never a prompt, a picture or an answer.
#ifndef GLIMPSE_SERVER_REQUEST_RECORD_H_
#define GLIMPSE_SERVER_REQUEST_RECORD_H_

#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "engine/schedule/token_sink.h"

namespace glimpse {

struct ImageRecord {
  int64_t bytes = 0;   // of the file; 0: no picture
  int64_t pixels = 0;  // width x height as decoded; 0: refused
  absl::Duration decode;
  absl::Duration resize;
};

struct RequestRecord {
  std::string request_id;  // empty: refused before it was read
  int64_t message_bytes = 0;
  ImageRecord image;
  int prompt_tokens = 0;  // the picture's included; 0: refused before they were counted
  int image_tokens = 0;
  Completion completion;  // as the engine's side said it; its defaults if it never had the request
  // How the call ended, whatever of it reached the client: a gRPC code, and either the public
  // reason of status.h or, for OK, STOP, LENGTH or STOP_STRING.
  std::string code;
  std::string reason;
  absl::Time arrived = absl::InfinitePast();
  absl::Time ended = absl::InfinitePast();
};

}  // namespace glimpse

#endif  // GLIMPSE_SERVER_REQUEST_RECORD_H_
