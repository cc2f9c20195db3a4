// glimpse-chat: asks a Glimpse server, once or in an interactive conversation.
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/flags/usage_config.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "preprocess/status_macros.h"
#include "tools/chat_client.h"

ABSL_FLAG(std::string, server, "127.0.0.1:50051", "host:port of the server");
ABSL_FLAG(std::string, image, "", "picture to talk about: a JPEG, PNG or WebP file");
ABSL_FLAG(std::string, system, "", "instructions to the model, before the conversation");
ABSL_FLAG(std::optional<int32_t>, max_tokens, std::nullopt, "most tokens of an answer");
ABSL_FLAG(std::optional<float>, temperature, std::nullopt, "0: greedy; default: the model's");
ABSL_FLAG(std::optional<float>, top_p, std::nullopt, "default: the model's");
ABSL_FLAG(std::optional<int32_t>, top_k, std::nullopt, "0: off; default: the model's");
ABSL_FLAG(std::optional<uint64_t>, seed, std::nullopt, "the same seed gives the same answer");

namespace glimpse {
namespace {

constexpr char kUsage[] =
    "chats with a Glimpse server.\n\n"
    "  glimpse-chat --image=picture.jpg What is in this picture?\n"
    "  glimpse-chat                       (interactive)\n\n"
    "In the interactive chat: /image FILE starts over with a picture, /new without one,\n"
    "Ctrl-C stops an answer, Ctrl-D ends.";
constexpr std::string_view kImageCommand = "/image ";

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ostringstream bytes;
  bytes << std::ifstream(path, std::ios::binary).rdbuf();
  if (!bytes || bytes.view().empty()) {
    return absl::NotFoundError(absl::StrCat("can't read ", path, ", or it is empty"));
  }
  return std::move(bytes).str();
}

// The conversation so far, as the request for the next answer.
class Conversation {
 public:
  Conversation() { Clear(); }

  void Clear() {
    request_.Clear();
    v1::Generation* generation = request_.mutable_generation();
    if (auto value = absl::GetFlag(FLAGS_max_tokens)) generation->set_max_tokens(*value);
    if (auto value = absl::GetFlag(FLAGS_temperature)) generation->set_temperature(*value);
    if (auto value = absl::GetFlag(FLAGS_top_p)) generation->set_top_p(*value);
    if (auto value = absl::GetFlag(FLAGS_top_k)) generation->set_top_k(*value);
    if (auto value = absl::GetFlag(FLAGS_seed)) generation->set_seed(*value);
    image_.clear();
    if (std::string system = absl::GetFlag(FLAGS_system); !system.empty()) {
      Add(v1::ROLE_SYSTEM, system);
    }
  }

  // Starts over, with this picture: a conversation has at most one.
  absl::Status SetImage(const std::string& path) {
    GLIMPSE_ASSIGN_OR_RETURN(std::string image, ReadFile(path));
    Clear();
    image_ = std::move(image);
    return absl::OkStatus();
  }

  // Streams the answer to stdout. A question that got no answer is forgotten; its picture waits for
  // the next one.
  absl::StatusOr<Answer> Ask(ChatClient& client, const std::string& question) {
    Add(v1::ROLE_USER, question);
    bool printed = false;
    absl::StatusOr<Answer> answer = client.Ask(request_, [&printed](std::string_view text) {
      std::cout << text << std::flush;
      printed = true;
    });
    if (answer.ok() || printed) std::cout << std::endl;
    if (answer.ok() && !answer->text.empty()) {
      Add(v1::ROLE_ASSISTANT, answer->text);
    } else {
      v1::Part* first = request_.mutable_messages()->rbegin()->mutable_parts(0);
      if (first->has_image()) image_ = std::move(*first->mutable_image());
      request_.mutable_messages()->RemoveLast();
    }
    return answer;
  }

 private:
  void Add(v1::Role role, const std::string& text) {
    v1::Message* message = request_.add_messages();
    message->set_role(role);
    if (role == v1::ROLE_USER && !image_.empty()) {
      message->add_parts()->set_image(std::exchange(image_, ""));
    }
    message->add_parts()->set_text(text);
  }

  v1::ChatRequest request_;
  std::string image_;  // waits for the next question
};

void PrintError(const absl::Status& status) {
  std::cerr << "glimpse-chat: " << ErrorLine(status) << std::endl;
}

void PrintSpeed(const Answer& answer) {
  const int tokens = answer.finished.usage().completion_tokens();
  std::fprintf(stderr, "[first token after %.0f ms; %d tokens",
               absl::ToDoubleMilliseconds(answer.time_to_first_token), tokens);
  const double speed = answer.TokensPerSecond();
  std::fprintf(stderr, speed > 0 ? ", %.0f tokens/s]\n" : "]\n", speed);
}

// Reads questions until the input ends; an error ends the question, not the chat.
void Chat(ChatClient& client, Conversation& conversation) {
  const bool terminal = isatty(STDIN_FILENO);
  for (std::string line;;) {
    if (terminal) std::cout << "> " << std::flush;
    if (!std::getline(std::cin, line)) break;
    if (line.empty()) continue;
    if (line == "/new") {
      conversation.Clear();
    } else if (line.starts_with(kImageCommand)) {
      const std::string path = line.substr(kImageCommand.size());
      if (absl::Status status = conversation.SetImage(path); !status.ok()) {
        PrintError(status);
      }
    } else if (absl::StatusOr<Answer> answer = conversation.Ask(client, line); !answer.ok()) {
      PrintError(answer.status());
    } else {
      PrintSpeed(*answer);
    }
  }
  if (terminal) std::cout << std::endl;
}

// Ctrl-C: a thread waits for it, since a signal handler may not call gRPC. SIGINT has to be blocked
// in every other thread, so this comes before gRPC starts any.
void CancelOnInterrupt(ChatClient& client, const sigset_t& interrupt) {
  std::thread([&client, interrupt] {
    for (int signal = 0;;) {
      sigwait(&interrupt, &signal);
      if (!client.Cancel()) _exit(128 + SIGINT);
    }
  }).detach();
}

int Main(int argc, char** argv) {
  absl::SetProgramUsageMessage(kUsage);
  absl::FlagsUsageConfig config;
  config.contains_help_flags = [](absl::string_view file) {
    return absl::EndsWith(file, "chat_main.cc");
  };
  absl::SetFlagsUsageConfig(config);
  std::vector<char*> arguments = absl::ParseCommandLine(argc, argv);

  sigset_t interrupt;
  sigemptyset(&interrupt);
  sigaddset(&interrupt, SIGINT);
  pthread_sigmask(SIG_BLOCK, &interrupt, nullptr);
  ChatClient client(absl::GetFlag(FLAGS_server));
  CancelOnInterrupt(client, interrupt);

  Conversation conversation;
  if (std::string path = absl::GetFlag(FLAGS_image); !path.empty()) {
    if (absl::Status status = conversation.SetImage(path); !status.ok()) {
      PrintError(status);
      return 1;
    }
  }
  if (arguments.size() == 1) {
    Chat(client, conversation);
    return 0;
  }
  absl::StatusOr<Answer> answer =
      conversation.Ask(client, absl::StrJoin(arguments.begin() + 1, arguments.end(), " "));
  if (!answer.ok()) {
    PrintError(answer.status());
    return 1;
  }
  PrintSpeed(*answer);
  return 0;
}

}  // namespace
}  // namespace glimpse

int main(int argc, char** argv) { return glimpse::Main(argc, argv); }
