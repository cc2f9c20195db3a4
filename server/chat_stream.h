// One Chat call: the reactor that takes a valid request through preparation, queue and engine, and
// writes its answer.
//
//   callback:        Start -> the pool
//   pool:            Prepare -> RequestQueue, then writes `started`
//   serving thread:  tokens -> TokenStream -> SendNext
//   callback:        OnWriteDone -> SendNext ... -> Finish; OnDone deletes the reactor
//
// One of these has the turn at any time, so only TokenStream and gRPC's own parts are locked.
// One write is in flight at most, and its buffer lives until its callback. Nothing here blocks. The
// reactor ends only after the sink's Finish, or before there was a sink: a call that was cancelled
// waits for the scheduler to let it go, which takes one step.
#ifndef GLIMPSE_SERVER_CHAT_STREAM_H_
#define GLIMPSE_SERVER_CHAT_STREAM_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "engine/schedule/clock.h"
#include "engine/schedule/request_queue.h"
#include "preprocess/worker_pool.h"
#include "server/admission.h"
#include "server/request_validation.h"
#include "server/served_model.h"
#include "server/token_stream.h"

namespace glimpse {

// What all calls share. Everything outlives the calls.
struct ChatStreamShared {
  const Clock* clock = nullptr;
  WorkerPool* pool = nullptr;
  RequestQueue* queue = nullptr;
  Admission* admission = nullptr;
  int64_t max_pending_bytes = 256 << 10;  // of one slow reader
};

// What the call says of itself, besides the request. It has entered `admission` with `bytes`.
struct ChatCall {
  std::string request_id;
  int64_t bytes = 0;
  absl::Time arrived;
  absl::Time deadline;
};

class ChatStream : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  // Owned by gRPC from here on: deletes itself. `shared` and `model` outlive it.
  ChatStream(const ChatStreamShared* shared, const ServedModel* model, ChatCall call,
             ChatInput input);

  // Once, right after construction.
  void Start();

 private:
  ~ChatStream() override = default;

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  void Prepare();
  absl::StatusOr<std::unique_ptr<Request>> MakeRequest();
  void StartStream(Request& request);
  absl::Status Enqueue(std::unique_ptr<Request> request);
  void SendNext();

  const ChatStreamShared* const shared_;
  const ServedModel* const model_;
  const ChatCall call_;
  ChatInput input_;  // until it is prepared
  TokenStream stream_;
  grpc::ByteBuffer writing_;  // the write in flight
};

// A call that ends as soon as it came, with `status`.
class RefusedChat : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  explicit RefusedChat(const absl::Status& status);

 private:
  ~RefusedChat() override = default;
  void OnDone() override;
};

}  // namespace glimpse

#endif  // GLIMPSE_SERVER_CHAT_STREAM_H_
