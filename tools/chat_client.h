// One connection to a Glimpse server, for the chat program.
//
//   ChatClient client("127.0.0.1:50051");
//   absl::StatusOr<Answer> answer = client.Ask(request, [](std::string_view text) { ... });
//
// One thread calls Ask, which blocks; `Cancel` may come from any thread.
#ifndef GLIMPSE_TOOLS_CHAT_CLIENT_H_
#define GLIMPSE_TOOLS_CHAT_CLIENT_H_

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "glimpse/v1/chat.grpc.pb.h"

namespace glimpse {

struct Answer {
  std::string text;
  v1::Finished finished;
  absl::Duration time_to_first_token;  // as this client saw it, the way there and back included
  absl::Duration total;

  // After the first token; 0 where there was no second one.
  double TokensPerSecond() const;
};

class ChatClient {
 public:
  // Connects at the first question.
  explicit ChatClient(const std::string& address);

  // Hands each piece of the answer's text to `on_text` as it comes. An error carries the server's
  // code, and its reason before the message; after `Cancel` it is CANCELLED.
  absl::StatusOr<Answer> Ask(const v1::ChatRequest& request,
                             const std::function<void(std::string_view)>& on_text);

  // Ends the answer that is on its way. False: there is none.
  bool Cancel();

 private:
  void SetRunning(grpc::ClientContext* context);

  const std::unique_ptr<v1::ChatService::Stub> stub_;
  std::mutex mutex_;
  grpc::ClientContext* running_ = nullptr;  // guarded by mutex_; not owned
};

// One line: code, reason if there is one, message and the fields that it names.
std::string ErrorLine(const absl::Status& status);

}  // namespace glimpse

#endif  // GLIMPSE_TOOLS_CHAT_CLIENT_H_
