// The life of a serving process, in this one: load, serve, reload, hang, break, drain.
#include "server/server.h"

#include <google/protobuf/wrappers.pb.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <csignal>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/fake_engine.h"
#include "tests/server/byte_tokenizer.h"
#include "tests/server/status_details.h"
#include "tests/server/step_gate.h"
#include "tests/server/test_server.h"

namespace glimpse {
namespace {

ServerConfig Config() {
  ServerConfig config;
  config.grpc.listen = "127.0.0.1:0";
  config.preprocess_threads = 2;
  config.drain_timeout = absl::Seconds(60);
  return config;
}

// What grpc.health.v1 says of `service`. Its two messages are on the wire what these wrappers are.
bool IsServing(const std::shared_ptr<grpc::Channel>& channel, const std::string& service) {
  using google::protobuf::Int32Value, google::protobuf::StringValue;
  grpc::TemplatedGenericStub<StringValue, Int32Value> stub(channel);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kCallTimeout);
  StringValue request;
  Int32Value response;
  request.set_value(service);
  std::promise<grpc::Status> done;
  stub.UnaryCall(&context, "/grpc.health.v1.Health/Check", {}, &request, &response,
                 [&](grpc::Status status) { done.set_value(std::move(status)); });
  const grpc::Status status = done.get_future().get();
  REQUIRE(status.ok());
  return response.value() == 1;
}

std::string ReasonOf(const grpc::Status& status) { return DetailsOf(status).reason; }

// A server in its own process's clothes: signals are Taken, and Serve runs on a thread.
class Life {
 public:
  explicit Life(const ServerConfig& config = Config(), const Clock* clock = nullptr) {
    absl::StatusOr<std::unique_ptr<Server>> started =
        Server::Start(config, clock == nullptr ? &real_clock_ : clock);
    REQUIRE(started.ok());
    server_ = *std::move(started);
    channel_ = grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials());
    stub = v1::ChatService::NewStub(channel_);
    MakeModel();
  }
  ~Life() {
    gate.Open();
    if (thread_.joinable()) End().IgnoreError();
  }

  // Returns when calls are answered.
  void Serve() {
    thread_ = std::thread([this] { status_ = server_->Serve(model, signals); });
    AwaitHealth("readiness", true);
  }
  // As SIGTERM does it. What Serve returned.
  absl::Status End() {
    signals.Take(SIGTERM);
    return Join();
  }
  absl::Status Join() {
    thread_.join();
    return status_;
  }

  bool Healthy(const std::string& name) { return IsServing(channel_, name); }
  void AwaitHealth(const std::string& name, bool serving) {
    while (Healthy(name) != serving) std::this_thread::yield();
  }

  StepGate gate;
  ServerSignals signals;
  ServerModel model;
  FakeEngine* engine = nullptr;  // the model's
  std::unique_ptr<v1::ChatService::Stub> stub;

 private:
  void MakeModel() {
    model.limits = Limits();
    model.served = MakeServedModel(model.limits);
    model.description.set_name("fake");
    auto runner = std::make_unique<FakeEngine>(FakeEngineOptions{
        model.limits, Ids("\nHi!"), [this](const StepPlan&) { gate.Pass(); }, /*depth=*/2});
    engine = runner.get();
    model.runner = std::move(runner);
  }

  const RealClock real_clock_;
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::thread thread_;
  absl::Status status_;
};

TEST_CASE("a server that loads is alive, not ready, and refuses calls") {
  Life life;
  CHECK(life.Healthy("liveness"));
  CHECK_FALSE(life.Healthy("readiness"));
  const grpc::Status status = Call(*life.stub, Question()).Finish();
  CHECK(status.error_code() == grpc::StatusCode::UNAVAILABLE);
  CHECK(ReasonOf(status) == "LOADING");
  life.Serve();
  Call call(*life.stub, Question());
  CHECK(call.Finish().ok());
  CHECK(call.Text() == "Hi!");
  CHECK(life.End().ok());
}

TEST_CASE("GetModel says the limits that the flags and the model set") {
  ServerConfig config = Config();
  config.images.max_side = 1234;
  Life life(config);
  life.Serve();
  grpc::ClientContext context;
  v1::GetModelResponse model;
  REQUIRE(life.stub->GetModel(&context, v1::GetModelRequest(), &model).ok());
  CHECK(model.name() == "fake");
  CHECK(model.limits().max_image_side() == 1234);
  CHECK(model.limits().max_context_tokens() == Limits().max_context);
  CHECK(model.vocabulary_size() == Limits().vocabulary_size);
  CHECK(model.server_version() != "");
}

TEST_CASE("an end waits for the calls that were accepted, refuses others, and is clean") {
  Life life;
  life.gate.Allow(2);
  life.Serve();
  Call call(*life.stub, Question());
  life.gate.WaitUntilHeld();
  life.signals.Take(SIGTERM);
  life.AwaitHealth("readiness", false);
  CHECK(life.Healthy("liveness"));
  const grpc::Status refused = Call(*life.stub, Question()).Finish();
  CHECK(refused.error_code() == grpc::StatusCode::UNAVAILABLE);
  CHECK(ReasonOf(refused) == "DRAINING");
  life.gate.Open();
  CHECK(call.Finish().ok());
  CHECK(call.Text() == "Hi!");
  CHECK(life.Join().ok());
}

TEST_CASE("an end cuts what is not complete when the drain's time is over, and is clean") {
  ServerConfig config = Config();
  config.drain_timeout = absl::Milliseconds(50);
  Life life(config);
  life.gate.Allow(10);
  life.Serve();
  Call call(*life.stub, Endless());
  life.gate.WaitUntilHeld();
  life.signals.Take(SIGTERM);
  life.AwaitHealth("readiness", false);
  // The time is over long before steps this far apart have written the whole answer.
  std::atomic<bool> ended = false;
  std::thread steps([&] {
    for (; !ended; absl::SleepFor(absl::Milliseconds(10))) life.gate.Allow(1);
    life.gate.Open();
  });
  const grpc::Status status = call.Finish();
  ended = true;
  CHECK(status.error_code() == grpc::StatusCode::UNAVAILABLE);
  CHECK(ReasonOf(status) == "DRAINING");
  CHECK(life.Join().ok());
  steps.join();
}

TEST_CASE(
    "a device that breaks ends all calls with ENGINE_FAULT, refuses others and is no clean end") {
  Life life;
  life.gate.Allow(3);
  life.Serve();
  Call running(*life.stub, Endless()), waiting(*life.stub, Question());
  for (Call* call : {&running, &waiting}) REQUIRE(call->Read());  // they are accepted
  life.gate.WaitUntilHeld();
  life.engine->Break();
  life.gate.Open();
  for (Call* call : {&running, &waiting}) {
    const grpc::Status status = call->Finish();
    CHECK(status.error_code() == grpc::StatusCode::INTERNAL);
    CHECK(ReasonOf(status) == "ENGINE_FAULT");
  }
  CHECK_FALSE(Call(*life.stub, Question()).Finish().ok());
  const absl::Status ended = life.Join();  // nobody sent a signal
  CHECK(absl::IsInternal(ended));
}

TEST_CASE("a device that breaks during a drain makes the end no clean one") {
  Life life;
  life.gate.Allow(3);
  life.Serve();
  Call call(*life.stub, Endless());
  life.gate.WaitUntilHeld();
  life.signals.Take(SIGTERM);
  life.AwaitHealth("readiness", false);
  life.engine->Break();
  life.gate.Open();
  CHECK(ReasonOf(call.Finish()) == "ENGINE_FAULT");
  CHECK(absl::IsInternal(life.Join()));
}

TEST_CASE("a server that failed is not alive again, whatever is set") {
  v1::ChatService::Service service;
  GrpcServerOptions options;
  options.listen = "127.0.0.1:0";
  absl::StatusOr<std::unique_ptr<GrpcServer>> server = GrpcServer::Start(options, &service);
  REQUIRE(server.ok());
  const auto channel =
      grpc::CreateChannel((*server)->address(), grpc::InsecureChannelCredentials());
  (*server)->SetReady(true);
  for (const char* name : {"", "liveness", "readiness", "glimpse.v1.ChatService"}) {
    CHECK(IsServing(channel, name));
  }
  (*server)->Fail();
  (*server)->SetReady(true);
  (*server)->SetLive(true);
  for (const char* name : {"", "liveness", "readiness", "glimpse.v1.ChatService"}) {
    CHECK_FALSE(IsServing(channel, name));
  }
  CHECK_FALSE((*server)->ready());
  CHECK_FALSE((*server)->live());
}

TEST_CASE("liveness fails while a step hangs, and is back when it does not") {
  ServerConfig config = Config();
  config.liveness_timeout = absl::Seconds(1);
  ShiftedClock clock(/*stands=*/true);
  Life life(config, &clock);
  life.gate.Allow(2);
  life.Serve();
  Call call(*life.stub, Question());
  life.gate.WaitUntilHeld();
  while (life.Healthy("liveness")) {
    clock.Advance(absl::Milliseconds(100));
    absl::SleepFor(absl::Milliseconds(10));
  }
  CHECK(life.Healthy("readiness"));
  life.gate.Open();
  CHECK(call.Finish().ok());
  life.AwaitHealth("liveness", true);
}

TEST_CASE("a reload stands between calls, and one that can't be made leaves the old model") {
  Life life;
  int reloads = 0;
  absl::Status outcome;
  life.model.reload = [&] { return ++reloads, outcome; };
  life.Serve();
  const auto reload = [&](absl::Status status) {
    const int before = reloads;
    outcome = std::move(status);
    life.signals.Take(SIGHUP);
    while (reloads == before) std::this_thread::yield();
  };
  reload(absl::OkStatus());
  life.AwaitHealth("readiness", true);
  CHECK(Call(*life.stub, Question()).Finish().ok());
  reload(absl::NotFoundError("no such file"));
  life.AwaitHealth("readiness", true);
  CHECK(Call(*life.stub, Question()).Finish().ok());
  reload(absl::ResourceExhaustedError("the old one is gone"));
  CHECK(absl::IsResourceExhausted(life.Join()));
  CHECK(reloads == 3);
}

TEST_CASE("an end that is wanted while a reload waits for calls comes before it") {
  Life life;
  std::atomic<int> reloads = 0;
  life.model.reload = [&] { return ++reloads, absl::OkStatus(); };
  life.gate.Allow(2);
  life.Serve();
  Call call(*life.stub, Question());
  life.gate.WaitUntilHeld();
  life.signals.Take(SIGHUP);
  life.AwaitHealth("readiness", false);
  CHECK(ReasonOf(Call(*life.stub, Question()).Finish()) == "LOADING");
  life.signals.Take(SIGTERM);
  const absl::Time begun = absl::Now();
  while (ReasonOf(Call(*life.stub, Question()).Finish()) != "DRAINING") std::this_thread::yield();
  CHECK(absl::Now() - begun < Config().drain_timeout / 2);
  life.gate.Open();
  CHECK(call.Finish().ok());
  CHECK(call.Text() == "Hi!");
  CHECK(life.Join().ok());
  CHECK(reloads == 0);
}

}  // namespace
}  // namespace glimpse
