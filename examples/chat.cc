// The smallest client: asks one question about a picture and prints the answer as it comes.
//
//   chat-example 127.0.0.1:50051 picture.jpg "What is this?"
#include <grpcpp/grpcpp.h>

#include <fstream>
#include <iostream>
#include <sstream>

#include "glimpse/v1/chat.grpc.pb.h"

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: chat-example HOST:PORT PICTURE QUESTION" << std::endl;
    return 2;
  }
  std::ifstream file(argv[2], std::ios::binary);
  std::ostringstream picture;
  picture << file.rdbuf();

  glimpse::v1::ChatRequest request;
  glimpse::v1::Message* message = request.add_messages();
  message->set_role(glimpse::v1::ROLE_USER);
  message->add_parts()->set_image(picture.str());
  message->add_parts()->set_text(argv[3]);

  auto channel = grpc::CreateChannel(argv[1], grpc::InsecureChannelCredentials());
  auto stub = glimpse::v1::ChatService::NewStub(channel);
  grpc::ClientContext context;
  auto reader = stub->Chat(&context, request);
  for (glimpse::v1::ChatResponse response; reader->Read(&response);) {
    std::cout << response.delta().text() << std::flush;
  }
  const grpc::Status status = reader->Finish();
  std::cout << std::endl;
  if (!status.ok()) {
    std::cerr << "error " << status.error_code() << ": " << status.error_message() << std::endl;
    return 1;
  }
  return 0;
}
