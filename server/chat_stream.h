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
//
// A client that takes nothing at all is cut: its stream is reset, since HTTP/2 could bring it a
// status only behind the message that it doesn't take. It sees a CANCELLED without an ErrorInfo,
// where the log and the metrics say RESOURCE_EXHAUSTED, SLOW_READER. This is the one error that
// reaches a client under another name.
#ifndef GLIMPSE_SERVER_CHAT_STREAM_H_
#define GLIMPSE_SERVER_CHAT_STREAM_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "engine/schedule/clock.h"
#include "engine/schedule/request_queue.h"
#include "preprocess/worker_pool.h"
#include "server/admission.h"
#include "server/metrics.h"
#include "server/request_log.h"
#include "server/request_record.h"
#include "server/request_validation.h"
#include "server/served_model.h"
#include "server/stall_watch.h"
#include "server/token_stream.h"

namespace glimpse {

// What all calls share. Everything outlives the calls.
struct ChatStreamShared {
  const Clock* clock = nullptr;
  WorkerPool* pool = nullptr;
  RequestQueue* queue = nullptr;
  Admission* admission = nullptr;
  int64_t max_stream_bytes = 256 << 10;              // of memory, for one slow reader
  absl::Duration stall_timeout = absl::Seconds(30);  // for which a client may take nothing
  Metrics* metrics = nullptr;                        // null: nothing is counted
  RequestLog* log = nullptr;                         // null: nothing is logged
};

// At the call's very end, after everything else. Sets `record->ended`.
void Report(const ChatStreamShared& shared, RequestRecord* record);

// What the call says of itself, besides the request. It has entered `admission` with `bytes`.
struct ChatCall {
  std::string request_id;
  int64_t bytes = 0;
  absl::Time arrived;
  absl::Time deadline;
};

class ChatStream : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  // Owned by gRPC from here on: deletes itself. `shared` and `model` outlive it; `context` is the
  // call's.
  ChatStream(const ChatStreamShared* shared, const ServedModel* model,
             grpc::CallbackServerContext* context, ChatCall call, ChatInput input);

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
  std::unique_ptr<TokenSink> MakeSink();
  void SendNext();
  void FinishWith(const absl::Status& error);

  const ChatStreamShared* const shared_;
  const ServedModel* const model_;
  const ChatCall call_;
  ChatInput input_;  // until it is prepared
  TokenStream stream_;
  RequestRecord record_;
  grpc::ByteBuffer writing_;  // the write in flight
  std::atomic<bool> stalled_ = false;
  StallWatch stall_watch_;  // last: it uses the others
};

// A call that ends as soon as it came, with `status`.
class RefusedChat : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  // `shared` outlives it.
  RefusedChat(const ChatStreamShared* shared, const ChatCall& call, const absl::Status& status);

 private:
  ~RefusedChat() override = default;
  void OnDone() override;

  const ChatStreamShared* const shared_;
  RequestRecord record_;
};

}  // namespace glimpse

#endif  // GLIMPSE_SERVER_CHAT_STREAM_H_
