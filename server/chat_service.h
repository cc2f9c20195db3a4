// glimpse.v1.ChatService on gRPC's callback API.
//
// Refuses what it can in the callback (state of the server, size, validity) and gives the rest to a
// ChatStream. Chat takes its bytes unparsed, so that a message which is not a valid ChatRequest
// gets INVALID_ARGUMENT instead of gRPC's UNIMPLEMENTED.
#ifndef GLIMPSE_SERVER_CHAT_SERVICE_H_
#define GLIMPSE_SERVER_CHAT_SERVICE_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <atomic>

#include "glimpse/v1/chat.grpc.pb.h"
#include "server/chat_stream.h"
#include "server/served_model.h"

namespace glimpse {

class ChatService final
    : public v1::ChatService::WithRawCallbackMethod_Chat<
          v1::ChatService::WithCallbackMethod_GetModel<v1::ChatService::Service>> {
 public:
  // What GetModel answers, and the defaults that the checkpoint sets.
  struct Model {
    const ServedModel* served = nullptr;
    SamplingParams default_sampling;
    v1::GetModelResponse description;
  };

  explicit ChatService(const ChatStreamShared& shared) : shared_(shared) {}

  // From now on calls are answered; before, they are refused as LOADING. Once. `model` outlives the
  // calls.
  void Serve(const Model* model);

  grpc::ServerWriteReactor<grpc::ByteBuffer>* Chat(grpc::CallbackServerContext* context,
                                                   const grpc::ByteBuffer* request) override;
  grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext* context,
                                     const v1::GetModelRequest* request,
                                     v1::GetModelResponse* response) override;

 private:
  // The two methods' other forms, for servers on gRPC's synchronous API, stay hidden.
  using v1::ChatService::Service::Chat;
  using v1::ChatService::Service::GetModel;

  const ChatStreamShared shared_;
  std::atomic<const Model*> model_ = nullptr;  // null while loading
};

}  // namespace glimpse

#endif  // GLIMPSE_SERVER_CHAT_SERVICE_H_
