#include "server/chat_service.h"

#include <random>
#include <utility>

#include "absl/strings/str_format.h"
#include "server/request_validation.h"
#include "server/status.h"

namespace glimpse {
namespace {

constexpr char kRequestIdKey[] = "x-request-id";

std::string NewRequestId() {
  std::random_device device;
  return absl::StrFormat("%08x%08x", device(), device());
}

absl::StatusOr<ChatInput> ReadRequest(grpc::ByteBuffer* bytes, const ChatService::Model& model) {
  v1::ChatRequest request;
  absl::Status parsed = ParseChatRequest(bytes, &request);
  if (!parsed.ok()) return parsed;
  return ValidateChatRequest(std::move(request),
                             {model.default_sampling, model.served->takes_images()});
}

}  // namespace

void ChatService::Serve(const Model* model) {
  model_ = model;
  shared_.admission->Open();
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* ChatService::Chat(grpc::CallbackServerContext* context,
                                                              const grpc::ByteBuffer* request) {
  ChatCall call;
  call.arrived = shared_.clock->Now();
  call.deadline = absl::FromChrono(context->deadline());
  call.bytes = static_cast<int64_t>(request->Length());
  const absl::Status entered = shared_.admission->Enter(call.bytes);
  if (!entered.ok()) return new RefusedChat(&shared_, call, entered);

  const Model* model = model_;
  // gRPC made the buffer for this call and nobody reads it again; parsing frees its memory now
  // instead of at the call's end.
  absl::StatusOr<ChatInput> input = ReadRequest(const_cast<grpc::ByteBuffer*>(request), *model);
  if (!input.ok()) {
    shared_.admission->Prepared(call.bytes);
    shared_.admission->Leave();
    return new RefusedChat(&shared_, call, input.status());
  }
  call.request_id = input->request_id.empty() ? NewRequestId() : input->request_id;
  context->AddInitialMetadata(kRequestIdKey, call.request_id);
  auto* stream =
      new ChatStream(&shared_, model->served, context, std::move(call), *std::move(input));
  stream->Start();
  return stream;
}

grpc::ServerUnaryReactor* ChatService::GetModel(grpc::CallbackServerContext* context,
                                                const v1::GetModelRequest* /*request*/,
                                                v1::GetModelResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const Model* model = model_;
  if (model == nullptr) {
    reactor->Finish(ToGrpcStatus(LoadingError()));
  } else {
    *response = model->description;
    reactor->Finish(grpc::Status::OK);
  }
  return reactor;
}

}  // namespace glimpse
