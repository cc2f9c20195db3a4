// The whole server over a fake engine that answers byte by byte, two steps in flight as on a GPU,
// and a client's calls to it.
#ifndef GLIMPSE_TESTS_SERVER_TEST_SERVER_H_
#define GLIMPSE_TESTS_SERVER_TEST_SERVER_H_

#include <grpcpp/create_channel.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "server/chat_service.h"
#include "server/grpc_server.h"
#include "server/serving_loop.h"
#include "tests/fake_engine.h"
#include "tests/server/byte_tokenizer.h"
#include "tests/server/step_gate.h"

namespace glimpse {

inline constexpr auto kCallTimeout = std::chrono::seconds(60);  // no test hangs longer

inline ModelLimits Limits() {
  ModelLimits limits;
  limits.vocabulary_size = kVocabularySize;
  limits.max_context = 4096;
  limits.image_size = 4;
  limits.image_rows = 6;
  limits.vision_layers = 4;
  limits.stop_ids = {kEndOfText};
  limits.max_batch_size = 1;
  limits.block_size = 16;
  limits.num_blocks = 512;
  return limits;
}

// The real time, or that of its making for ever, and what a test adds to it.
class ShiftedClock : public Clock {
 public:
  explicit ShiftedClock(bool stands) : stands_(stands), start_(absl::Now()) {}
  absl::Time Now() const override {
    return (stands_ ? start_ : absl::Now()) + absl::Nanoseconds(shift_ns_.load());
  }
  void Advance(absl::Duration duration) { shift_ns_ += absl::ToInt64Nanoseconds(duration); }

 private:
  const bool stands_;
  const absl::Time start_;
  std::atomic<int64_t> shift_ns_ = 0;
};

struct ServerOptions {
  std::string answer = "\nHi!";
  RequestQueueOptions queue = {};
  bool serve = true;  // false: still loading
  bool clock_stands = false;
  int depth = 2;
  absl::Duration stall_timeout = absl::Seconds(30);
  // Called at the start of each step, on the serving thread.
  std::function<void(const StepPlan&)> on_launch = nullptr;
};

class TestServer {
 public:
  explicit TestServer(const ServerOptions& options = {})
      : clock(options.clock_stands),
        admission(64 << 20),
        queue(options.queue),
        pool(2, 16),
        service(ForCalls(options.stall_timeout)),
        engine({Limits(), Ids(options.answer),
                [this, on_launch = options.on_launch](const StepPlan& plan) {
                  num_started += plan.rows[0].starts;
                  gate.Pass();
                  if (on_launch) on_launch(plan);
                },
                options.depth}) {
    for_service.served = model.get();
    for_service.default_sampling.temperature = 0;
    for_service.description.set_name("fake");
    GrpcServerOptions grpc_options;
    grpc_options.listen = "127.0.0.1:0";
    absl::StatusOr<std::unique_ptr<GrpcServer>> started = GrpcServer::Start(grpc_options, &service);
    REQUIRE(started.ok());
    server = *std::move(started);
    stub = v1::ChatService::NewStub(
        grpc::CreateChannel(server->address(), grpc::InsecureChannelCredentials()));
    if (options.serve) {
      loop = std::make_unique<ServingLoop>(SchedulerOptions{Limits(), BucketTable(), 2048}, &queue,
                                           &engine, &clock, ServingLoopHooks{&metrics, {}, {}});
      service.Serve(&for_service);
    }
  }
  ~TestServer() {
    gate.Open();
    if (loop != nullptr) loop->Drain(absl::InfinitePast());
    server->Shutdown(absl::Seconds(5));
  }

  ChatStreamShared ForCalls(absl::Duration stall_timeout) {
    ChatStreamShared shared;
    shared.clock = &clock;
    shared.pool = &pool;
    shared.queue = &queue;
    shared.admission = &admission;
    shared.metrics = &metrics;
    shared.stall_timeout = stall_timeout;
    return shared;
  }

  ShiftedClock clock;
  Metrics metrics{"test", BucketTable()};
  Admission admission;
  RequestQueue queue;
  WorkerPool pool;
  const std::unique_ptr<ServedModel> model = MakeServedModel(Limits());
  ChatService::Model for_service;
  ChatService service;
  StepGate gate;
  std::atomic<int> num_started = 0;  // requests that the engine has seen
  FakeEngine engine;
  std::unique_ptr<ServingLoop> loop;
  std::unique_ptr<GrpcServer> server;
  std::unique_ptr<v1::ChatService::Stub> stub;
};

inline v1::ChatRequest Question(const std::string& text = "What?") {
  v1::ChatRequest request;
  v1::Message* message = request.add_messages();
  message->set_role(v1::ROLE_USER);
  message->add_parts()->set_text(text);
  return request;
}

// An answer that goes on until the context is full.
inline v1::ChatRequest Endless() {
  v1::ChatRequest request = Question();
  request.mutable_generation()->set_ignore_eos(true);
  request.mutable_generation()->set_max_tokens(4000);
  return request;
}

// One call, read as the test wants.
class Call {
 public:
  Call(v1::ChatService::Stub& stub, const v1::ChatRequest& request,
       std::chrono::milliseconds timeout = kCallTimeout) {
    context_.set_deadline(std::chrono::system_clock::now() + timeout);
    reader_ = stub.Chat(&context_, request);
  }
  Call(TestServer& server, const v1::ChatRequest& request,
       std::chrono::milliseconds timeout = kCallTimeout)
      : Call(*server.stub, request, timeout) {}

  bool Read() { return reader_->Read(&response); }
  // Reads to the end.
  grpc::Status Finish() {
    while (Read()) events.push_back(response);
    return reader_->Finish();
  }
  std::string Text() const {
    std::string text;
    for (const v1::ChatResponse& event : events) text += event.delta().text();
    return text;
  }
  grpc::ClientContext& context() { return context_; }

  v1::ChatResponse response;
  std::vector<v1::ChatResponse> events;

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::ChatResponse>> reader_;
};

}  // namespace glimpse

#endif  // GLIMPSE_TESTS_SERVER_TEST_SERVER_H_
