#include "tools/chat_client.h"

#include <grpcpp/grpcpp.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace glimpse {
namespace {

// "QUEUE_FULL: the queue is full", with one more line of "field: what is wrong" for each violation.
absl::Status ToAbslStatus(const grpc::Status& status) {
  std::string text = status.error_message();
  google::rpc::Status details;
  if (!status.error_details().empty() && details.ParseFromString(status.error_details())) {
    for (const auto& packed : details.details()) {
      google::rpc::ErrorInfo info;
      google::rpc::BadRequest bad;
      if (packed.UnpackTo(&info)) text = absl::StrCat(info.reason(), ": ", text);
      if (!packed.UnpackTo(&bad)) continue;
      for (const auto& violation : bad.field_violations()) {
        absl::StrAppend(&text, "; ", violation.field(), ": ", violation.description());
      }
    }
  }
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), text);
}

}  // namespace

double Answer::TokensPerSecond() const {
  const int after_first = finished.usage().completion_tokens() - 1;
  const absl::Duration span = total - time_to_first_token;
  return after_first > 0 && span > absl::ZeroDuration() ? after_first / absl::ToDoubleSeconds(span)
                                                        : 0;
}

std::string ErrorLine(const absl::Status& status) {
  return absl::StrCat(absl::StatusCodeToString(status.code()), ": ", status.message());
}

ChatClient::ChatClient(const std::string& address)
    : stub_(v1::ChatService::NewStub(
          grpc::CreateChannel(address, grpc::InsecureChannelCredentials()))) {}

void ChatClient::SetRunning(grpc::ClientContext* context) {
  std::lock_guard<std::mutex> lock(mutex_);
  running_ = context;
}

bool ChatClient::Cancel() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (running_ == nullptr) return false;
  running_->TryCancel();
  return true;
}

absl::StatusOr<Answer> ChatClient::Ask(const v1::ChatRequest& request,
                                       const std::function<void(std::string_view)>& on_text) {
  Answer answer;
  grpc::ClientContext context;
  SetRunning(&context);
  const absl::Time start = absl::Now();
  auto reader = stub_->Chat(&context, request);
  for (v1::ChatResponse response; reader->Read(&response);) {
    if (response.has_finished()) answer.finished = response.finished();
    if (!response.has_delta()) continue;
    if (answer.time_to_first_token == absl::ZeroDuration()) {
      answer.time_to_first_token = absl::Now() - start;
    }
    answer.text += response.delta().text();
    on_text(response.delta().text());
  }
  const grpc::Status status = reader->Finish();
  SetRunning(nullptr);
  answer.total = absl::Now() - start;
  if (!status.ok()) return ToAbslStatus(status);
  return answer;
}

}  // namespace glimpse
