// One Chat call over a completion queue, as a client sees it. One thread: the queue's.
#ifndef GLIMPSE_BENCH_LOAD_CALL_H_
#define GLIMPSE_BENCH_LOAD_CALL_H_

#include <grpcpp/grpcpp.h>

#include <memory>

#include "absl/time/time.h"
#include "bench/load/call_plan.h"
#include "bench/load/tally.h"
#include "glimpse/v1/chat.grpc.pb.h"

namespace glimpse::bench {

class Call {
 public:
  enum class Event {
    kNothing,  // the next event of the queue will say more
    kMessage,  // `message` has come; `Read` asks for the next
    kEnded,    // `status` is final; nothing more comes
  };

  // Sends the request. The queue's events with this call as their tag go to `Proceed`.
  Call(const CallPlan& plan, v1::ChatService::Stub* stub, const v1::ChatRequest& request,
       absl::Time deadline, grpc::CompletionQueue* queue);

  Event Proceed(bool ok);
  void Read();
  // The end comes soon, by itself, or by the next Read if none is under way.
  void Cancel();

  const CallPlan& plan() const { return plan_; }
  const v1::ChatResponse& message() const { return message_; }
  const grpc::Status& status() const { return status_; }
  // Nobody has asked for the next message yet.
  bool waits_for_read() const { return state_ == State::kIdle; }
  // Cancel was called.
  bool cancelled() const { return cancelled_; }

  CallProgress progress;  // the owner's

 private:
  enum class State { kStarting, kIdle, kReading, kFinishing };

  const CallPlan plan_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientAsyncReader<v1::ChatResponse>> reader_;
  State state_ = State::kStarting;
  bool cancelled_ = false;
  v1::ChatResponse message_;
  grpc::Status status_;
};

// "OK" and the reason of its `finished`, or the code's name and the reason of its ErrorInfo ("" if
// it has none).
CallEnd EndOf(const grpc::Status& status, const v1::Finished& finished);

}  // namespace glimpse::bench

#endif  // GLIMPSE_BENCH_LOAD_CALL_H_
