#include "bench/load/call.h"

#include <string>

#include "absl/status/status.h"
#include "absl/strings/strip.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace glimpse::bench {

Call::Call(const CallPlan& plan, v1::ChatService::Stub* stub, const v1::ChatRequest& request,
           absl::Time deadline, grpc::CompletionQueue* queue)
    : plan_(plan) {
  if (deadline != absl::InfiniteFuture()) context_.set_deadline(absl::ToChronoTime(deadline));
  reader_ = stub->AsyncChat(&context_, request, queue, this);
}

Call::Event Call::Proceed(bool ok) {
  if (state_ == State::kFinishing) return Event::kEnded;
  if (!ok) {
    state_ = State::kFinishing;
    reader_->Finish(&status_, this);
    return Event::kNothing;
  }
  if (state_ == State::kStarting) {
    Read();
    return Event::kNothing;
  }
  state_ = State::kIdle;
  return Event::kMessage;
}

void Call::Read() {
  state_ = State::kReading;
  reader_->Read(&message_, this);
}

void Call::Cancel() {
  cancelled_ = true;
  context_.TryCancel();
}

CallEnd EndOf(const grpc::Status& status, const v1::Finished& finished) {
  if (status.ok()) {
    const std::string& name = v1::FinishReason_Name(finished.reason());
    return {"OK", std::string(absl::StripPrefix(name, "FINISH_REASON_"))};
  }
  std::string reason;
  google::rpc::Status details;
  if (!status.error_details().empty() && details.ParseFromString(status.error_details())) {
    for (const auto& packed : details.details()) {
      google::rpc::ErrorInfo info;
      if (packed.UnpackTo(&info)) reason = info.reason();
    }
  }
  return {absl::StatusCodeToString(static_cast<absl::StatusCode>(status.error_code())), reason};
}

}  // namespace glimpse::bench
