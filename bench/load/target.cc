#include "bench/load/target.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "bench/load/picture.h"
#include "preprocess/read_file.h"
#include "preprocess/status_macros.h"

namespace glimpse::bench {
namespace {

constexpr absl::Duration kReadyTimeout = absl::Seconds(10);
constexpr absl::Duration kRetryAfter = absl::Milliseconds(50);
constexpr auto kCallTimeout = std::chrono::seconds(60);
constexpr int kMadePictures = 16;
constexpr size_t kMostPictureBytes = 256 << 20;
// Repeated, one of these is a token each time in every vocabulary that was tried.
constexpr const char* kWords[] = {" the", " one", " a", "x"};

absl::Status ToAbsl(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

v1::ChatRequest Question(const std::string& text, int answer_tokens) {
  v1::ChatRequest request;
  v1::Message* message = request.add_messages();
  message->set_role(v1::ROLE_USER);
  message->add_parts()->set_text(text);
  request.mutable_generation()->set_max_tokens(answer_tokens);
  request.mutable_generation()->set_ignore_eos(true);
  return request;
}

std::string Repeat(const std::string& word, int times) {
  std::string text;
  text.reserve(word.size() * static_cast<size_t>(times));
  for (int i = 0; i < times; ++i) text += word;
  return text;
}

absl::StatusOr<v1::GetModelResponse> WaitForModel(v1::ChatService::Stub& stub) {
  const absl::Time give_up = absl::Now() + kReadyTimeout;
  while (true) {
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    context.set_deadline(absl::ToChronoTime(give_up));
    v1::GetModelResponse model;
    const grpc::Status status = stub.GetModel(&context, {}, &model);
    if (status.ok()) return model;
    if (status.error_code() != grpc::StatusCode::UNAVAILABLE || absl::Now() > give_up) {
      return absl::UnavailableError(absl::StrCat("no answer: ", status.error_message()));
    }
    absl::SleepFor(kRetryAfter);
  }
}

// Tokens of a prompt of `times` words, as the server counts them.
absl::StatusOr<int> PromptTokens(v1::ChatService::Stub& stub, const std::string& word, int times) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kCallTimeout);
  const auto reader = stub.Chat(&context, Question(Repeat(word, times), /*answer_tokens=*/1));
  int tokens = 0;
  for (v1::ChatResponse response; reader->Read(&response);) {
    if (response.has_started()) tokens = response.started().prompt_tokens();
  }
  const grpc::Status status = reader->Finish();
  if (!status.ok()) return ToAbsl(status);
  return tokens;
}

// The tokens beside the words' own, if each word is one token.
absl::StatusOr<std::optional<int>> OtherTokens(v1::ChatService::Stub& stub,
                                               const std::string& word) {
  std::optional<int> others;
  for (const int times : {1, 16, 32}) {
    GLIMPSE_ASSIGN_OR_RETURN(const int tokens, PromptTokens(stub, word, times));
    if (others.has_value() && tokens - times != *others) return std::nullopt;
    others = tokens - times;
  }
  return others;
}

absl::Status CheckFits(const LoadOptions& options, const v1::Limits& limits, int other_tokens) {
  const int picture = options.mix.picture_share > 0 ? limits.image_tokens() : 0;
  if (options.mix.picture_share > 0 && picture == 0) {
    return absl::InvalidArgumentError("the served model takes no pictures");
  }
  const int prompt = std::max(options.mix.prompt_tokens.most(), other_tokens + 1);
  const int needed = prompt + picture + options.mix.answer_tokens.most();
  if (needed <= limits.max_context_tokens()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("the longest call takes ", needed,
                                                 " tokens, and the server's context holds ",
                                                 limits.max_context_tokens()));
}

}  // namespace

std::shared_ptr<grpc::Channel> Connect(const std::string& server, bool slow_reader) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  if (slow_reader) {
    arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);  // which would take megabytes
    arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 64 << 10);
  }
  return grpc::CreateCustomChannel(server, grpc::InsecureChannelCredentials(), arguments);
}

absl::StatusOr<Target> Target::Probe(const LoadOptions& options) {
  Target target;
  target.temperature_ = options.temperature;
  const auto stub = v1::ChatService::NewStub(Connect(options.server));
  GLIMPSE_ASSIGN_OR_RETURN(target.model_, WaitForModel(*stub));
  for (const char* word : kWords) {
    GLIMPSE_ASSIGN_OR_RETURN(const std::optional<int> others, OtherTokens(*stub, word));
    if (!others.has_value()) continue;
    target.word_ = word;
    target.other_tokens_ = *others;
    GLIMPSE_RETURN_IF_ERROR(CheckFits(options, target.model_.limits(), *others));
    GLIMPSE_RETURN_IF_ERROR(target.LoadPictures(options));
    return target;
  }
  return absl::InvalidArgumentError("no word is one token each time it is repeated");
}

absl::Status Target::LoadPictures(const LoadOptions& options) {
  if (options.mix.picture_share == 0) return absl::OkStatus();
  for (const std::string& path : options.picture_files) {
    GLIMPSE_ASSIGN_OR_RETURN(pictures_.emplace_back(), ReadFile(path, kMostPictureBytes));
  }
  if (!pictures_.empty()) return absl::OkStatus();
  for (int i = 0; i < kMadePictures; ++i) pictures_.push_back(MakePng(options.picture_side, i));
  return absl::OkStatus();
}

v1::ChatRequest Target::MakeRequest(const CallPlan& plan) const {
  const int words = std::max(plan.prompt_tokens - other_tokens_, 1);
  v1::ChatRequest request = Question(Repeat(word_, words), plan.answer_tokens);
  if (temperature_.has_value()) request.mutable_generation()->set_temperature(*temperature_);
  if (!plan.picture) return request;
  const size_t turn = static_cast<size_t>(plan.number) % pictures_.size();
  request.mutable_messages(0)->add_parts()->set_image(pictures_[turn]);
  return request;
}

}  // namespace glimpse::bench
