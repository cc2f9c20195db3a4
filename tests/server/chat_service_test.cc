// The service from a client's side, over real gRPC.
#include "server/chat_service.h"

#include <catch2/catch.hpp>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "tests/server/metrics_text.h"
#include "tests/server/red_png.h"
#include "tests/server/status_details.h"
#include "tests/server/test_server.h"

namespace glimpse {
namespace {

// Ends at once with this reason.
StatusDetails Refused(TestServer& server, const v1::ChatRequest& request, grpc::StatusCode code) {
  Call call(server, request);
  const grpc::Status status = call.Finish();
  CHECK(call.events.empty());
  CHECK(status.error_code() == code);
  return DetailsOf(status);
}

TEST_CASE("an answer streams as started, deltas, finished") {
  TestServer server;
  v1::ChatRequest request = Question();
  request.set_request_id("abc");
  request.mutable_generation()->set_seed(77);
  Call call(server, request);
  CHECK(call.Finish().ok());

  REQUIRE(call.events.size() >= 3);
  const v1::Started& started = call.events.front().started();
  CHECK(started.request_id() == "abc");
  CHECK(started.seed() == 77);
  // [gMASK] <sop> <|user|> "\n" W h a t ? <|assistant|>
  CHECK(started.prompt_tokens() == 10);
  CHECK(started.image_tokens() == 0);
  for (size_t i = 1; i + 1 < call.events.size(); ++i) CHECK(call.events[i].has_delta());
  CHECK(call.Text() == "Hi!");
  const v1::Finished& finished = call.events.back().finished();
  CHECK(finished.reason() == v1::FINISH_REASON_STOP);
  CHECK(finished.usage().completion_tokens() == 5);  // the newline and the stop token included
  CHECK(finished.timing().has_time_to_first_token());
  const auto& metadata = call.context().GetServerInitialMetadata();
  REQUIRE(metadata.count("x-request-id") == 1);
  CHECK(metadata.find("x-request-id")->second == "abc");
}

TEST_CASE("ids and seeds that the client left out are made, each anew") {
  TestServer server;
  Call first(server, Question()), second(server, Question());
  CHECK(first.Finish().ok());
  CHECK(second.Finish().ok());
  const v1::Started& a = first.events.at(0).started();
  const v1::Started& b = second.events.at(0).started();
  CHECK(a.request_id().size() == 16);
  CHECK(a.request_id() != b.request_id());
  CHECK(a.seed() != b.seed());
}

TEST_CASE("a picture takes its rows of the context") {
  TestServer server;
  v1::ChatRequest request = Question();
  request.mutable_messages(0)->add_parts()->set_image(RedPng());
  Call call(server, request);
  CHECK(call.Finish().ok());
  CHECK(call.events.at(0).started().image_tokens() == 6);
  CHECK(call.events.at(0).started().prompt_tokens() == 16);
  CHECK(call.events.back().finished().timing().has_vision());
}

TEST_CASE("bad pictures are told apart") {
  TestServer server;
  v1::ChatRequest request = Question();
  std::string* image = request.mutable_messages(0)->add_parts()->mutable_image();
  const auto reason = [&](const std::string& bytes) {
    *image = bytes;
    return Refused(server, request, grpc::StatusCode::INVALID_ARGUMENT).reason;
  };
  CHECK(reason("GIF89a and more") == "IMAGE_UNSUPPORTED");
  CHECK(reason(RedPng().substr(0, 50)) == "IMAGE_CORRUPT");
  CHECK(reason(std::string(17 << 20, 'x')) == "IMAGE_TOO_LARGE");
}

TEST_CASE("what does not fit into the context is refused with the counts") {
  TestServer server;
  v1::ChatRequest request = Question();
  request.mutable_generation()->set_max_tokens(4087);
  const StatusDetails details = Refused(server, request, grpc::StatusCode::INVALID_ARGUMENT);
  CHECK(details.reason == "CONTEXT_TOO_LONG");
  CHECK(details.metadata.at("prompt_tokens") == "10");
  CHECK(details.metadata.at("max_context_tokens") == "4096");
  CHECK(Refused(server, Question(std::string(5000, 'x')), grpc::StatusCode::INVALID_ARGUMENT)
            .reason == "CONTEXT_TOO_LONG");
}

TEST_CASE("a request with wrong fields names them all") {
  TestServer server;
  v1::ChatRequest request = Question("");
  request.mutable_generation()->set_top_p(2);
  const StatusDetails details = Refused(server, request, grpc::StatusCode::INVALID_ARGUMENT);
  CHECK(details.reason == "INVALID_FIELD");
  CHECK(details.violations.size() == 2);
}

TEST_CASE("a message over the limit is gRPC's to refuse") {
  TestServer server;
  Call call(server, Question(std::string(21 << 20, 'x')));
  CHECK(call.Finish().error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST_CASE("while the model loads, calls are told to come back") {
  TestServer server({.serve = false});
  const StatusDetails details = Refused(server, Question(), grpc::StatusCode::UNAVAILABLE);
  CHECK(details.reason == "LOADING");
  CHECK(details.has_retry);
  grpc::ClientContext context;
  v1::GetModelResponse model;
  CHECK(server.stub->GetModel(&context, {}, &model).error_code() == grpc::StatusCode::UNAVAILABLE);
}

TEST_CASE("GetModel describes what is served") {
  TestServer server;
  grpc::ClientContext context;
  v1::GetModelResponse model;
  CHECK(server.stub->GetModel(&context, {}, &model).ok());
  CHECK(model.name() == "fake");
}

TEST_CASE("stop strings end an answer early") {
  TestServer server({.answer = "\none, two, three"});
  v1::ChatRequest request = Question();
  request.mutable_generation()->add_stop(", t");
  Call call(server, request);
  CHECK(call.Finish().ok());
  CHECK(call.Text() == "one");
  CHECK(call.events.back().finished().reason() == v1::FINISH_REASON_STOP_STRING);
}

TEST_CASE("a cancelled call makes room for the next") {
  TestServer server;
  server.gate.Allow(5);
  Call first(server, Endless());
  REQUIRE(first.Read());
  REQUIRE(first.Read());  // it runs
  first.context().TryCancel();
  CHECK(first.Finish().error_code() == grpc::StatusCode::CANCELLED);

  // The engine is held, so only the cancellation can let the second call pass: the first one would
  // need its slot for thousands of steps, and gets few.
  std::atomic<bool> done = false;
  std::thread next([&] {
    Call second(server, Question());
    CHECK(second.Finish().ok());
    CHECK(second.Text() == "Hi!");
    done = true;
  });
  while (!done && server.engine.num_steps() < 2000) {
    server.gate.Allow(1);
    std::this_thread::yield();
  }
  CHECK(server.engine.num_steps() < 2000);
  server.gate.Open();
  next.join();
}

TEST_CASE("a deadline that passes in the queue costs no step") {
  TestServer server;
  server.gate.Close();
  Call running(server, Question(), std::chrono::minutes(10));
  server.gate.WaitUntilHeld();
  Call waiting(server, Question(), std::chrono::minutes(4));
  REQUIRE(waiting.Read());  // `started`: it is in the queue
  server.clock.Advance(absl::Minutes(5));
  server.gate.Open();
  const grpc::Status status = waiting.Finish();
  CHECK(status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED);
  CHECK(DetailsOf(status).reason == "DEADLINE_EXCEEDED");
  CHECK(running.Finish().ok());
  CHECK(server.num_started == 1);
}

// An endless answer with much to each token, to a client whose gRPC takes no more than 64 KiB that
// nobody reads.
struct UnreadCall {
  explicit UnreadCall(TestServer& server) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 64 << 10);
    server.stub = v1::ChatService::NewStub(grpc::CreateCustomChannel(
        server.server->address(), grpc::InsecureChannelCredentials(), arguments));
    v1::ChatRequest request = Endless();
    request.mutable_generation()->set_logprobs(20);
    server.gate.Close();
    call.emplace(server, request);
    REQUIRE(call->Read());  // `started`: from here on the server can only be too fast
  }
  std::optional<Call> call;
};

TEST_CASE("a reader that never reads loses its slot, and learns why when it reads at last") {
  TestServer server;
  UnreadCall slow(server);
  server.gate.Open();
  Call next(server, Question());  // there is one slot
  CHECK(next.Finish().ok());
  CHECK(next.Text() == "Hi!");
  const grpc::Status status = slow.call->Finish();
  CHECK(status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED);
  CHECK(DetailsOf(status).reason == "SLOW_READER");
}

TEST_CASE("a client that takes nothing for too long is cut") {
  TestServer server({.stall_timeout = absl::Milliseconds(100)});
  UnreadCall stalled(server);
  // So slowly that its buffer is not full before its time is over.
  while (!server.admission.WaitUntilEmpty(absl::Milliseconds(2))) server.gate.Allow(1);
  const MetricsText metrics(server.metrics.Text());
  CHECK(metrics.Value("requests_total",
                      {{"code", "RESOURCE_EXHAUSTED"}, {"reason", "SLOW_READER"}}) == 1);
  const grpc::Status status = stalled.call->Finish();
  // Not the status that the metrics have: it would come behind the message that is not taken.
  CHECK(status.error_code() == grpc::StatusCode::CANCELLED);
  CHECK(status.error_details().empty());
}

TEST_CASE("a full queue refuses and says when to try again") {
  ServerOptions options;
  options.queue.max_requests = 1;
  TestServer server(options);
  server.gate.Close();
  Call running(server, Question());
  server.gate.WaitUntilHeld();
  Call waiting(server, Question());
  REQUIRE(waiting.Read());  // `started`: it is in the queue
  const StatusDetails details = Refused(server, Question(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  CHECK(details.reason == "QUEUE_FULL");
  CHECK(details.has_retry);
  server.gate.Open();
  CHECK(running.Finish().ok());
  CHECK(waiting.Finish().ok());
}

TEST_CASE("a drain finishes accepted calls and refuses new ones") {
  TestServer server;
  server.gate.Close();
  Call running(server, Question()), waiting(server, Question());
  REQUIRE(running.Read());
  REQUIRE(waiting.Read());
  server.admission.Close();
  const StatusDetails details = Refused(server, Question(), grpc::StatusCode::UNAVAILABLE);
  CHECK(details.reason == "DRAINING");
  CHECK(details.has_retry);
  server.gate.Open();
  CHECK(running.Finish().ok());
  CHECK(waiting.Finish().ok());
  CHECK(server.admission.WaitUntilEmpty(absl::Seconds(60)));
  server.loop->Drain(absl::InfiniteFuture());
}

TEST_CASE("a drain that runs out of time ends accepted calls as unavailable") {
  TestServer server;
  server.gate.Close();
  Call running(server, Endless()), waiting(server, Endless());
  REQUIRE(running.Read());
  REQUIRE(waiting.Read());
  server.gate.WaitUntilHeld();
  server.admission.Close();
  std::thread drain([&] { server.loop->Drain(absl::InfinitePast()); });
  while (!server.queue.closed()) std::this_thread::yield();
  server.gate.Allow(1);
  drain.join();
  for (Call* call : {&running, &waiting}) {
    const grpc::Status status = call->Finish();
    CHECK(status.error_code() == grpc::StatusCode::UNAVAILABLE);
    CHECK(DetailsOf(status).reason == "DRAINING");
  }
}

TEST_CASE("a failed step is an engine fault to its caller, and the next call is served") {
  TestServer server;
  server.engine.FailFinish(0, absl::InternalError("secret of the device"));
  Call failing(server, Question());
  const grpc::Status status = failing.Finish();
  CHECK(status.error_code() == grpc::StatusCode::INTERNAL);
  CHECK(DetailsOf(status).reason == "ENGINE_FAULT");
  CHECK(status.error_message().find("secret") == std::string::npos);
  Call next(server, Question());
  CHECK(next.Finish().ok());
}

TEST_CASE("an address that is taken is refused, not shared") {
  const ChatStreamShared shared;
  ChatService service(shared);
  GrpcServerOptions options;
  options.listen = "127.0.0.1:0";
  const auto first = GrpcServer::Start(options, &service);
  REQUIRE(first.ok());
  options.listen = (*first)->address();
  CHECK(options.listen != "127.0.0.1:0");
  const auto second = GrpcServer::Start(options, &service);
  CHECK(absl::IsUnavailable(second.status()));
  CHECK(std::string(second.status().message()).find(options.listen) != std::string::npos);
}

}  // namespace
}  // namespace glimpse
