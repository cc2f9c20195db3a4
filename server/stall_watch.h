// Finds out that a client takes nothing.
//
// HTTP/2 lets a client hold a message back for as long as it likes, without a word and with its
// connection in good order, and with the message the call and all that it holds. So a call whose
// message has not left for too long is to be cut.
//
// `WriteBegins` and `WriteEnds` come in turns, each after the other has returned, from any thread;
// they cost a counter. The time is gRPC's own.
#ifndef GLIMPSE_SERVER_STALL_WATCH_H_
#define GLIMPSE_SERVER_STALL_WATCH_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

#include "absl/time/time.h"

namespace glimpse {

class StallWatch {
 public:
  // `cut` is called at most once, on a thread of gRPC's, after a write has been under way for
  // `timeout`, and before it has been for twice that. It may not block.
  StallWatch(absl::Duration timeout, std::function<void()> cut);
  // When it returns, `cut` does not run and never will.
  ~StallWatch();
  StallWatch(const StallWatch&) = delete;
  StallWatch& operator=(const StallWatch&) = delete;

  void WriteBegins();
  void WriteEnds();

 private:
  struct State;
  const std::shared_ptr<State> state_;  // shared with the alarm, which may outlive the watch
};

}  // namespace glimpse

#endif  // GLIMPSE_SERVER_STALL_WATCH_H_
