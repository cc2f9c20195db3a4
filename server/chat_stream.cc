#include "server/chat_stream.h"

#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/server_context.h>

#include <exception>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "preprocess/check.h"
#include "preprocess/status_macros.h"
#include "server/metered_sink.h"
#include "server/operator_line.h"
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

TokenStreamOptions StreamOptions(const ChatInput& input, int64_t max_bytes) {
  TokenStreamOptions options;
  options.max_bytes = max_bytes;
  options.stop_strings = input.stop_strings;
  options.with_logprobs = input.sampling.top_logprobs >= 0;
  return options;
}

std::string Word(v1::FinishReason reason) {
  return std::string(absl::StripPrefix(v1::FinishReason_Name(reason), "FINISH_REASON_"));
}

RequestRecord RecordOf(const ChatCall& call) {
  RequestRecord record;
  record.request_id = call.request_id;
  record.message_bytes = call.bytes;
  record.arrived = call.arrived;
  return record;
}

void NoteEnd(const absl::Status& status, RequestRecord* record) {
  StatusWords words = ToWords(status);
  record->code = std::move(words.code);
  record->reason = std::move(words.reason);
}

}  // namespace

void Report(const ChatStreamShared& shared, RequestRecord* record) {
  record->ended = shared.clock->Now();
  if (shared.metrics != nullptr) shared.metrics->OnRequest(*record);
  if (shared.log != nullptr) shared.log->Write(*record);
}

ChatStream::ChatStream(const ChatStreamShared* shared, const ServedModel* model,
                       grpc::CallbackServerContext* context, ChatCall call, ChatInput input)
    : shared_(shared),
      model_(model),
      call_(std::move(call)),
      input_(std::move(input)),
      stream_(StreamOptions(input_, shared->max_stream_bytes), model->tokenizer(),
              [this] { SendNext(); }),
      record_(RecordOf(call_)),
      stall_watch_(shared->stall_timeout, [this, context] {
        stalled_ = true;
        stream_.MarkTooSlow();
        context->TryCancel();  // the write in flight fails, and the rest follows
      }) {}

void ChatStream::Start() {
  if (shared_->pool->Submit([this] { Prepare(); }).ok()) return;
  shared_->admission->Prepared(call_.bytes);
  FinishWith(QueueFullError());
}

// On the pool.
void ChatStream::Prepare() {
  absl::StatusOr<std::unique_ptr<Request>> request = MakeRequest();
  shared_->admission->Prepared(call_.bytes);
  const absl::Status status = request.ok() ? Enqueue(*std::move(request)) : request.status();
  if (!status.ok()) {
    FinishWith(status);
    return;
  }
  SendNext();
}

absl::StatusOr<std::unique_ptr<Request>> ChatStream::MakeRequest() {
  if (stream_.gone()) return CancelledError();
  if (shared_->clock->Now() >= call_.deadline) return DeadlineError();
  if (!input_.has_seed) input_.sampling.seed = RandomSeed();
  try {
    return model_->Prepare(std::exchange(input_, {}), *shared_->clock, &record_.image);
  } catch (const std::exception& error) {
    // A picture within the limits for which the memory is not there: bad_alloc, or length_error.
    TellOperator(absl::StrCat("a request could not be prepared: ", error.what()));
    return QueueFullError();
  }
}

absl::Status ChatStream::Enqueue(std::unique_ptr<Request> request) {
  StartStream(*request);
  request->id = call_.request_id;
  request->deadline = call_.deadline;
  request->sink = MakeSink();
  request->times.arrived = call_.arrived;
  request->times.enqueued = shared_->clock->Now();
  const absl::Status status = shared_->queue->Push(request);
  if (absl::IsDeadlineExceeded(status)) return DeadlineError();
  return absl::IsResourceExhausted(status) ? QueueFullError() : status;
}

std::unique_ptr<TokenSink> ChatStream::MakeSink() {
  return std::make_unique<MeteredSink>(stream_.MakeSink(), shared_->metrics, shared_->clock,
                                       &record_);
}

void ChatStream::StartStream(Request& request) {
  record_.prompt_tokens = model_->PromptTokens(request);
  record_.image_tokens = model_->ImageTokens(request);
  v1::Started started;
  started.set_request_id(call_.request_id);
  started.set_prompt_tokens(record_.prompt_tokens);
  started.set_image_tokens(record_.image_tokens);
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
      stall_watch_.WriteBegins();
      StartWrite(&writing_);
      return;
    case StreamEvent::Kind::kLast:
      NoteEnd(absl::OkStatus(), &record_);
      record_.reason = Word(event.message.finished().reason());
      writing_ = Serialize(event.message);
      stall_watch_.WriteBegins();
      StartWriteAndFinish(&writing_, grpc::WriteOptions(), grpc::Status::OK);
      return;
    case StreamEvent::Kind::kError:
      FinishWith(event.status);
      return;
  }
}

// Nothing may follow it, as above.
void ChatStream::FinishWith(const absl::Status& error) {
  NoteEnd(error, &record_);
  Finish(ToGrpcStatus(error));
}

void ChatStream::OnWriteDone(bool ok) {
  stall_watch_.WriteEnds();
  if (!ok) OnCancel();
  SendNext();
}

void ChatStream::OnCancel() {
  stream_.MarkGone();
  shared_->queue->Wake();
}

void ChatStream::OnDone() {
  if (stalled_) NoteEnd(SlowReaderError(), &record_);  // perhaps with its last message under way
  Report(*shared_, &record_);
  shared_->admission->Leave();
  delete this;
}

RefusedChat::RefusedChat(const ChatStreamShared* shared, const ChatCall& call,
                         const absl::Status& status)
    : shared_(shared), record_(RecordOf(call)) {
  NoteEnd(status, &record_);
  Finish(ToGrpcStatus(status));
}

void RefusedChat::OnDone() {
  Report(*shared_, &record_);
  delete this;
}

}  // namespace glimpse
