#include "server/token_stream.h"

#include <malloc.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <memory>
#include <string>
#include <thread>

#include "preprocess/utf8.h"
#include "server/status.h"
#include "tests/server/byte_tokenizer.h"
#include "tests/server/status_details.h"

namespace glimpse {
namespace {

using Kind = StreamEvent::Kind;

// A stream, its writer, and a count of the reader's notifications.
struct Fixture {
  explicit Fixture(TokenStreamOptions options = {})
      : stream(std::move(options), ByteTokenizer(), [this] { ++notified; }),
        sink(stream.MakeSink()) {
    v1::Started started;
    started.set_prompt_tokens(12);
    started.set_image_tokens(6);
    stream.Start(started);
  }

  // False as soon as the stream wants no more.
  bool Push(std::string_view text) {
    for (const int32_t id : Ids(text)) {
      if (!sink->Push({id, -1.5f, {}})) return false;
    }
    return true;
  }
  void Finish(FinishReason reason) { sink->Finish(absl::OkStatus(), {reason, 5, {}}); }
  std::string TakeText() {
    const StreamEvent event = stream.Take();
    return event.kind == Kind::kMessage ? event.message.delta().text() : "";
  }

  int notified = 0;
  TokenStream stream;
  std::unique_ptr<TokenSink> sink;
};

// Past the first event.
struct StartedFixture : Fixture {
  explicit StartedFixture(TokenStreamOptions options = {}) : Fixture(std::move(options)) {
    REQUIRE(stream.Take().message.has_started());
  }
};

TEST_CASE("a stream is started, deltas, finished, in this order") {
  Fixture fixture;
  fixture.Push("Hi");
  fixture.Finish(FinishReason::kLength);

  const StreamEvent first = fixture.stream.Take();
  CHECK(first.kind == Kind::kMessage);
  CHECK(first.message.started().prompt_tokens() == 12);
  const StreamEvent second = fixture.stream.Take();
  CHECK(second.kind == Kind::kMessage);
  CHECK(second.message.delta().text() == "Hi");
  const StreamEvent last = fixture.stream.Take();
  CHECK(last.kind == Kind::kLast);
  const v1::Finished& finished = last.message.finished();
  CHECK(finished.reason() == v1::FINISH_REASON_LENGTH);
  CHECK(finished.usage().prompt_tokens() == 12);
  CHECK(finished.usage().image_tokens() == 6);
  CHECK(finished.usage().completion_tokens() == 5);
}

TEST_CASE("deltas that nobody fetched become one") {
  StartedFixture fixture;
  fixture.Push("several tokens");
  const StreamEvent event = fixture.stream.Take();
  CHECK(event.message.delta().text() == "several tokens");
  CHECK(event.message.delta().token_ids_size() == 14);
  CHECK(event.message.delta().logprobs_size() == 0);
  CHECK(fixture.stream.Take().kind == Kind::kNothing);
}

TEST_CASE("a waiting reader is told once, a busy one never") {
  StartedFixture fixture;
  fixture.Push("a");
  CHECK(fixture.notified == 0);
  fixture.stream.Take();
  CHECK(fixture.stream.Take().kind == Kind::kNothing);
  fixture.Push("b");
  CHECK(fixture.notified == 1);
  fixture.Push("c");
  CHECK(fixture.notified == 1);
}

TEST_CASE("text never ends inside a character") {
  StartedFixture fixture;
  fixture.Push("a\xc3");
  CHECK(fixture.TakeText() == "a");
  fixture.Push("\xa9z");
  CHECK(fixture.TakeText() == "\xc3\xa9z");
  fixture.Push("\xe4\xb8");
  CHECK(fixture.TakeText() == "");
  fixture.Finish(FinishReason::kLength);
  CHECK(fixture.TakeText() == "\xef\xbf\xbd");  // the cut character becomes U+FFFD
  CHECK(fixture.stream.Take().kind == Kind::kLast);
}

TEST_CASE("the newline before the answer is no part of it, later ones are") {
  StartedFixture fixture;
  fixture.Push("\n\nHi\n");
  CHECK(fixture.TakeText() == "\nHi\n");
}

TEST_CASE("a stop string ends the stream before it, wherever tokens are cut") {
  StartedFixture fixture({.stop_strings = {"END", "\nUser:"}});
  CHECK(fixture.Push("Yes\nUs"));
  CHECK(fixture.TakeText() == "Yes");
  CHECK_FALSE(fixture.Push("er:"));
  fixture.Finish(FinishReason::kStopString);
  std::string text;
  StreamEvent event = fixture.stream.Take();
  for (; event.kind == Kind::kMessage; event = fixture.stream.Take()) {
    text += event.message.delta().text();
  }
  CHECK(text == "");
  CHECK(event.message.finished().reason() == v1::FINISH_REASON_STOP_STRING);
}

TEST_CASE("what only looked like a stop string comes out at the end") {
  StartedFixture fixture({.stop_strings = {"END"}});
  fixture.Push("the EN");
  CHECK(fixture.TakeText() == "the ");
  fixture.Finish(FinishReason::kStop);
  CHECK(fixture.TakeText() == "EN");
}

TEST_CASE("the newline before the answer matches no stop string") {
  StartedFixture fixture({.stop_strings = {"\n"}});
  CHECK(fixture.Push("\nHi"));
  CHECK_FALSE(fixture.Push("\n"));
  CHECK(fixture.TakeText() == "Hi");
}

TEST_CASE("log-probabilities come with their tokens") {
  StartedFixture fixture({.with_logprobs = true});
  fixture.sink->Push({'a', -0.25f, {{'a', -0.25f}, {'b', -2.0f}}});
  const v1::Delta delta = fixture.stream.Take().message.delta();
  REQUIRE(delta.logprobs_size() == 1);
  CHECK(delta.logprobs(0).logprob() == -0.25f);
  REQUIRE(delta.logprobs(0).alternatives_size() == 2);
  CHECK(delta.logprobs(0).alternatives(1).token_id() == 'b');
  CHECK(delta.logprobs(0).alternatives(1).logprob() == -2.0f);
}

TEST_CASE("a reader that stays behind for too long loses the stream") {
  StartedFixture fixture({.max_bytes = 300});
  fixture.Push(std::string(20, 'x'));  // for each a byte of text and 4 of its id, and these thrice
  CHECK_FALSE(fixture.sink->Gone());
  fixture.Push("x");
  CHECK(fixture.sink->Gone());
  fixture.sink->Finish(absl::CancelledError(), {});
  const StreamEvent event = fixture.stream.Take();
  CHECK(event.kind == Kind::kError);
  CHECK(DetailsOf(event.status).reason == "SLOW_READER");
}

TEST_CASE("what is being sent counts as well as what waits, and is forgotten when it is sent") {
  StartedFixture fixture({.max_bytes = 400});
  fixture.Push(std::string(20, 'x'));
  CHECK(fixture.TakeText() == std::string(20, 'x'));  // 20 bytes of text, 20 ids and their frame
  fixture.Push(std::string(20, 'x'));
  CHECK_FALSE(fixture.sink->Gone());
  CHECK(fixture.TakeText() == std::string(20, 'x'));
  fixture.Push(std::string(24, 'x'));  // would fit alone
  CHECK(fixture.sink->Gone());
}

TEST_CASE("a stream never takes more memory than its bound") {
  for (const int top_logprobs : {-1, 0, 20}) {
    StartedFixture fixture({.with_logprobs = top_logprobs >= 0});
    SampledToken token{'x', -1.0f, {}};
    for (int i = 0; i < top_logprobs; ++i) token.top.push_back({i, -2.0f});
    const size_t before = mallinfo2().uordblks;
    size_t most = 0;
    while (!fixture.sink->Gone()) {
      fixture.sink->Push(token);
      most = std::max(most, mallinfo2().uordblks - before);
    }
    CHECK(most <= size_t{TokenStreamOptions().max_bytes});
    CHECK(mallinfo2().uordblks <= before + 16384);  // let go of, but for what malloc keeps
  }
}

TEST_CASE("a client that takes nothing is told so, even if its answer is complete") {
  StartedFixture fixture;
  fixture.Push("Hi");
  fixture.Finish(FinishReason::kLength);
  fixture.stream.MarkTooSlow();
  const StreamEvent event = fixture.stream.Take();
  CHECK(event.kind == Kind::kError);
  CHECK(DetailsOf(event.status).reason == "SLOW_READER");
}

TEST_CASE("a reader that keeps up never loses the stream") {
  StartedFixture fixture({.max_bytes = 300});
  for (int i = 0; i < 50; ++i) {
    fixture.Push("0123456789");
    REQUIRE(fixture.TakeText() == "0123456789");
  }
  CHECK_FALSE(fixture.sink->Gone());
}

TEST_CASE("a client that left gets nothing but the end") {
  StartedFixture fixture;
  fixture.Push("a");
  fixture.stream.MarkGone();
  CHECK(fixture.sink->Gone());
  fixture.Push("b");
  CHECK(fixture.stream.Take().kind == Kind::kNothing);
  fixture.sink->Finish(absl::CancelledError(), {});
  CHECK(fixture.notified == 1);
  CHECK(fixture.stream.Take().kind == Kind::kError);
}

TEST_CASE("the writer is done with a stream whose end was fetched") {
  // The reader destroys the stream the moment it has the end, while the writer may still be inside
  // Finish; the sanitizers watch.
  for (int round = 0; round < 300; ++round) {
    Mutex mutex;
    CondVar changed;
    bool ready = false;
    auto stream = std::make_unique<TokenStream>(TokenStreamOptions(), ByteTokenizer(), [&] {
      MutexLock lock(&mutex);
      ready = true;
      changed.NotifyAll();
    });
    stream->Start(v1::Started());
    std::thread writer([sink = stream->MakeSink()] {
      for (const int32_t id : Ids("some text")) sink->Push({id, 0, {}});
      sink->Finish(absl::OkStatus(), {});
    });
    std::string text;
    while (true) {
      const StreamEvent event = stream->Take();
      if (event.kind == Kind::kLast) break;
      if (event.kind == Kind::kMessage) text += event.message.delta().text();
      if (event.kind != Kind::kNothing) continue;
      MutexLock lock(&mutex);
      while (!ready) changed.Wait(&mutex);
      ready = false;
    }
    stream.reset();
    writer.join();
    REQUIRE(text == "some text");
  }
}

TEST_CASE("stage times are told one after the other, and only those that happened") {
  const auto at = [](int ms) { return absl::UnixEpoch() + absl::Milliseconds(ms); };
  StageTimes times;
  times.arrived = at(0);
  times.enqueued = at(5);
  times.admitted = at(7);
  times.first_token = at(1010);
  times.finished = at(3010);
  const v1::Timing timing = ToTiming(times);
  CHECK(timing.preprocess().nanos() == 5'000'000);
  CHECK(timing.queue().nanos() == 2'000'000);
  CHECK_FALSE(timing.has_vision());
  CHECK(timing.prefill().seconds() == 1);
  CHECK(timing.prefill().nanos() == 3'000'000);
  CHECK(timing.decode().seconds() == 2);
  CHECK(timing.time_to_first_token().nanos() == 10'000'000);
  CHECK(timing.total().seconds() == 3);

  times.encoded = at(1000);
  CHECK(ToTiming(times).vision().nanos() == 993'000'000);
  CHECK(ToTiming(times).prefill().nanos() == 10'000'000);
}

}  // namespace
}  // namespace glimpse
