#include "server/chat_stream.h"

#include <grpcpp/impl/codegen/proto_utils.h>

#include <cstdio>
#include <exception>
#include <random>
#include <utility>

#include "preprocess/check.h"
#include "preprocess/status_macros.h"
#include "server/status.h"

namespace glimpse {
namespace {

uint64_t RandomSeed() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

grpc::ByteBuffer Serialize(const v1::ChatResponse& response) {
  grpc::ByteBuffer bytes;
  bool own_buffer = false;
  const grpc::Status status =
      grpc::SerializationTraits<v1::ChatResponse>::Serialize(response, &bytes, &own_buffer);
  GLIMPSE_CHECK(status.ok(), "a response of ours can be serialised");
  return bytes;
}

TokenStreamOptions StreamOptions(const ChatInput& input, int64_t max_pending_bytes) {
  TokenStreamOptions options;
  options.max_pending_bytes = max_pending_bytes;
  options.stop_strings = input.stop_strings;
  options.with_logprobs = input.sampling.top_logprobs >= 0;
  return options;
}

}  // namespace

ChatStream::ChatStream(const ChatStreamShared* shared, const ServedModel* model, ChatCall call,
                       ChatInput input)
    : shared_(shared),
      model_(model),
      call_(std::move(call)),
      input_(std::move(input)),
      stream_(StreamOptions(input_, shared->max_pending_bytes), model->tokenizer(),
              [this] { SendNext(); }) {}

void ChatStream::Start() {
  if (shared_->pool->Submit([this] { Prepare(); }).ok()) return;
  shared_->admission->Prepared(call_.bytes);
  Finish(ToGrpcStatus(QueueFullError()));
}

// On the pool.
void ChatStream::Prepare() {
  absl::StatusOr<std::unique_ptr<Request>> request = MakeRequest();
  shared_->admission->Prepared(call_.bytes);
  const absl::Status status = request.ok() ? Enqueue(*std::move(request)) : request.status();
  if (!status.ok()) {
    Finish(ToGrpcStatus(status));
    return;
  }
  SendNext();
}

absl::StatusOr<std::unique_ptr<Request>> ChatStream::MakeRequest() {
  if (stream_.gone()) return CancelledError();
  if (shared_->clock->Now() >= call_.deadline) return DeadlineError();
  if (!input_.has_seed) input_.sampling.seed = RandomSeed();
  try {
    return model_->Prepare(std::exchange(input_, {}));
  } catch (const std::exception& error) {
    // A picture within the limits for which the memory is not there: bad_alloc, or length_error.
    std::fprintf(stderr, "a request could not be prepared: %s\n", error.what());
    return QueueFullError();
  }
}

absl::Status ChatStream::Enqueue(std::unique_ptr<Request> request) {
  StartStream(*request);
  request->id = call_.request_id;
  request->deadline = call_.deadline;
  request->sink = stream_.MakeSink();
  request->times.arrived = call_.arrived;
  request->times.enqueued = shared_->clock->Now();
  const absl::Status status = shared_->queue->Push(request);
  return absl::IsResourceExhausted(status) ? QueueFullError() : status;
}

void ChatStream::StartStream(Request& request) {
  v1::Started started;
  started.set_request_id(call_.request_id);
  started.set_prompt_tokens(model_->PromptTokens(request));
  started.set_image_tokens(model_->ImageTokens(request));
  started.set_seed(request.sampling.seed);
  stream_.Start(started);
}

// On the pool, the serving thread or a callback. The write's callback may run, and the reactor end,
// before StartWrite returns: nothing may follow it.
void ChatStream::SendNext() {
  StreamEvent event = stream_.Take();
  switch (event.kind) {
    case StreamEvent::Kind::kNothing:
      return;
    case StreamEvent::Kind::kMessage:
      writing_ = Serialize(event.message);
      StartWrite(&writing_);
      return;
    case StreamEvent::Kind::kLast:
      writing_ = Serialize(event.message);
      StartWriteAndFinish(&writing_, grpc::WriteOptions(), grpc::Status::OK);
      return;
    case StreamEvent::Kind::kError:
      Finish(ToGrpcStatus(event.status));
      return;
  }
}

void ChatStream::OnWriteDone(bool ok) {
  if (!ok) OnCancel();
  SendNext();
}

void ChatStream::OnCancel() {
  stream_.MarkGone();
  shared_->queue->Wake();
}

void ChatStream::OnDone() {
  shared_->admission->Leave();
  delete this;
}

RefusedChat::RefusedChat(const absl::Status& status) { Finish(ToGrpcStatus(status)); }

void RefusedChat::OnDone() { delete this; }

}  // namespace glimpse
