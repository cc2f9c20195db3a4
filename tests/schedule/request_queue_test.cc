#include "engine/schedule/request_queue.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "tests/schedule/recording_sink.h"

namespace glimpse {
namespace {

// A queue whose requests carry their number as their only prompt id.
struct Fixture {
  explicit Fixture(const RequestQueueOptions& options = {}) : queue(options) {}

  TestClient& Push(absl::Time deadline = absl::InfiniteFuture()) {
    TestClient& client = clients.emplace_back();
    auto request = MakeRequest(&client, {static_cast<int32_t>(clients.size()) - 1}, 1);
    request->deadline = deadline;
    REQUIRE(queue.Push(request).ok());
    REQUIRE(request == nullptr);
    return client;
  }

  // The number of the first request, taken out; -1 if none waits.
  int Pop(absl::Time now = AtMs(0)) {
    if (queue.Front(now) == nullptr) return -1;
    return queue.PopFront()->prompt[0];
  }

  std::deque<TestClient> clients;
  RequestQueue queue;
};

TEST_CASE("Requests leave in the order in which they came") {
  Fixture fixture;
  for (int i = 0; i < 3; ++i) fixture.Push();
  CHECK(fixture.queue.Front(AtMs(0))->prompt[0] == 0);
  CHECK(fixture.queue.Front(AtMs(0))->prompt[0] == 0);
  CHECK(fixture.Pop() == 0);
  CHECK(fixture.Pop() == 1);
  fixture.Push();
  CHECK(fixture.Pop() == 2);
  CHECK(fixture.Pop() == 3);
  CHECK(fixture.Pop() == -1);
}

TEST_CASE("A full queue refuses, says which bound, and leaves the request with its caller") {
  RequestQueueOptions options;
  std::string text;
  SECTION("requests") {
    options.max_requests = 2;
    text = "the queue is full: 2 requests wait, 1 more were asked for, 2 is the limit";
  }
  SECTION("tokens") {
    options.max_tokens = 5;  // each takes one of its prompt and one of its answer
    text = "the queue is full: 4 tokens wait, 2 more were asked for, 5 is the limit";
  }
  SECTION("bytes") {
    const int64_t each = sizeof(Request) + sizeof(int32_t);
    options.max_bytes = 3 * each - 1;
    text = "the queue is full: " + std::to_string(2 * each) + " bytes wait, " +
           std::to_string(each) + " more were asked for, " + std::to_string(3 * each - 1) +
           " is the limit";
  }
  Fixture fixture(options);
  fixture.Push();
  fixture.Push();
  TestClient client;
  auto request = MakeRequest(&client, {7}, 1);
  const absl::Status status = fixture.queue.Push(request);
  CHECK(status.code() == absl::StatusCode::kResourceExhausted);
  CHECK(status.message() == text);
  REQUIRE(request != nullptr);
  CHECK(client.num_finishes == 0);

  CHECK(fixture.Pop() == 0);
  CHECK(fixture.queue.Push(request).ok());
}

TEST_CASE("A request larger than a bound is refused by an empty queue") {
  RequestQueueOptions options;
  options.max_tokens = 3;
  RequestQueue queue(options);
  TestClient client;
  auto request = MakeRequest(&client, {1, 2}, 2);
  CHECK(queue.Push(request).code() == absl::StatusCode::kResourceExhausted);
  request->max_tokens = 1;
  CHECK(queue.Push(request).ok());
}

TEST_CASE("The depth follows what comes and goes") {
  Fixture fixture;
  fixture.Push();
  fixture.Push(AtMs(5));
  const int64_t each = sizeof(Request) + sizeof(int32_t);
  CHECK(fixture.queue.depth().requests == 2);
  CHECK(fixture.queue.depth().tokens == 4);
  CHECK(fixture.queue.depth().bytes == 2 * each);
  fixture.queue.DropUnwanted(AtMs(5));
  CHECK(fixture.queue.depth().requests == 1);
  CHECK(fixture.queue.depth().tokens == 2);
  CHECK(fixture.queue.depth().bytes == each);
  CHECK(fixture.Pop() == 0);
  CHECK(fixture.queue.depth().requests == 0);
  CHECK(fixture.queue.depth().tokens == 0);
  CHECK(fixture.queue.depth().bytes == 0);
}

TEST_CASE("A closed queue refuses but lets what waits be taken") {
  Fixture fixture;
  fixture.Push();
  CHECK_FALSE(fixture.queue.closed());
  fixture.queue.Close();
  CHECK(fixture.queue.closed());
  TestClient client;
  auto request = MakeRequest(&client, {7}, 1);
  CHECK(fixture.queue.Push(request).code() == absl::StatusCode::kUnavailable);
  CHECK(request != nullptr);
  CHECK(fixture.Pop() == 0);
}

TEST_CASE("Expired and cancelled requests at the front get their Finish and are passed over") {
  Fixture fixture;
  TestClient& expired = fixture.Push(AtMs(10));
  TestClient& cancelled = fixture.Push();
  TestClient& both = fixture.Push(AtMs(10));
  fixture.Push(AtMs(11));
  cancelled.gone = true;
  both.gone = true;
  CHECK(fixture.Pop(AtMs(10)) == 3);
  CHECK(expired.status == absl::DeadlineExceededError("the deadline has passed"));
  CHECK(expired.completion.completion_tokens == 0);
  CHECK(expired.completion.times.finished == AtMs(10));
  CHECK(expired.completion.times.admitted == absl::InfinitePast());
  CHECK(cancelled.status == absl::CancelledError("the client has left"));
  CHECK(both.status.code() == absl::StatusCode::kDeadlineExceeded);
  for (const TestClient& client : fixture.clients) {
    CHECK(client.num_finishes == (&client == &fixture.clients[3] ? 0 : 1));
  }
}

TEST_CASE("A request that expires deep in the queue is told in the next call") {
  Fixture fixture(RequestQueueOptions{.max_requests = 5000});
  for (int i = 0; i < 3000; ++i) fixture.Push(AtMs(100000 + i));
  TestClient& early = fixture.Push(AtMs(50));
  for (int i = 0; i < 1500; ++i) fixture.Push();
  fixture.queue.DropUnwanted(AtMs(49));
  CHECK(early.num_finishes == 0);
  fixture.queue.DropUnwanted(AtMs(50));
  CHECK(early.status.code() == absl::StatusCode::kDeadlineExceeded);
  CHECK(fixture.queue.depth().requests == 4500);
}

TEST_CASE("After a Wake, clients that left deep in the queue are found in rounds of kSweep") {
  Fixture fixture(RequestQueueOptions{.max_requests = 5000});
  for (int i = 0; i < 10 * RequestQueue::kSweep; ++i) fixture.Push();
  fixture.clients[400].gone = true;
  fixture.clients.back().gone = true;
  fixture.queue.Wake();
  int calls = 0;
  while (!fixture.clients.back().finished()) {
    fixture.queue.DropUnwanted(AtMs(0));
    REQUIRE(++calls <= 10);
  }
  CHECK(fixture.clients[400].status.code() == absl::StatusCode::kCancelled);
  CHECK(fixture.queue.depth().requests == 10 * RequestQueue::kSweep - 2);

  fixture.clients[0].gone = true;
  fixture.queue.DropUnwanted(AtMs(0));  // the next round begins at the front again
  CHECK(fixture.clients[0].num_finishes == 1);
}

TEST_CASE("A Wake has all asked that wait, also those before where the round stands") {
  Fixture fixture(RequestQueueOptions{.max_requests = 5000});
  for (int i = 0; i < 3 * RequestQueue::kSweep; ++i) fixture.Push();
  for (int i = 0; i < 3; ++i) fixture.queue.DropUnwanted(AtMs(0));  // the round stands at 12
  fixture.clients[8].gone = true;
  fixture.queue.Wake();
  for (int i = 0; i < 4; ++i) fixture.queue.DropUnwanted(AtMs(0));
  CHECK(fixture.clients[8].num_finishes == 1);
}

TEST_CASE("Without a Wake too, a client that left is found in the end") {
  Fixture fixture;
  for (int i = 0; i < 40; ++i) fixture.Push();
  fixture.clients[39].gone = true;
  for (int i = 0; i < 10; ++i) fixture.queue.DropUnwanted(AtMs(0));
  CHECK(fixture.clients[39].num_finishes == 1);
}

TEST_CASE("What a call asks of the clients does not grow with the queue") {
  for (int length : {100, 1000, 4000}) {
    Fixture fixture(RequestQueueOptions{.max_requests = 5000});
    for (int i = 0; i < length; ++i) fixture.Push();
    fixture.queue.DropUnwanted(AtMs(0));
    fixture.queue.Front(AtMs(0));
    const auto asked = [&] {
      int64_t count = 0;
      for (const TestClient& client : fixture.clients) count += client.asked_gone;
      return count;
    };
    CHECK(asked() == RequestQueue::kQuietSweep + 1);
    fixture.queue.Wake();
    fixture.queue.DropUnwanted(AtMs(0));
    CHECK(asked() == RequestQueue::kQuietSweep + 1 + RequestQueue::kSweep);
  }
}

TEST_CASE("Waiting for work ends at once when there is something, or after Wake or Close") {
  Fixture fixture;
  fixture.queue.Wake();
  CHECK_FALSE(fixture.queue.WaitForWork(absl::InfiniteFuture()));
  fixture.Push();
  CHECK(fixture.queue.WaitForWork(absl::InfiniteFuture()));
  CHECK(fixture.Pop() == 0);
  fixture.queue.Close();
  CHECK_FALSE(fixture.queue.WaitForWork(absl::InfiniteFuture()));
}

TEST_CASE("Waiting for work ends at its deadline, and a Wake ends one wait and no more") {
  Fixture fixture;
  fixture.queue.Wake();
  fixture.queue.WaitForWork(absl::InfiniteFuture());
  const absl::Time deadline = absl::Now() + absl::Milliseconds(5);
  CHECK_FALSE(fixture.queue.WaitForWork(deadline));
  CHECK(absl::Now() >= deadline);
}

TEST_CASE("Entries that stay where they are keep nobody awake") {
  Fixture fixture;
  fixture.Push();
  CHECK(fixture.queue.WaitForWork(absl::InfiniteFuture()));
  const absl::Time deadline = absl::Now() + absl::Milliseconds(5);
  CHECK(fixture.queue.WaitForWork(deadline));
  CHECK(absl::Now() >= deadline);
  fixture.Push();
  CHECK(fixture.queue.WaitForWork(absl::InfiniteFuture()));
}

TEST_CASE("The next deadline is the earliest of those that wait") {
  Fixture fixture;
  CHECK(fixture.queue.NextDeadline() == absl::InfiniteFuture());
  fixture.Push();
  CHECK(fixture.queue.NextDeadline() == absl::InfiniteFuture());
  fixture.Push(AtMs(9));
  fixture.Push(AtMs(5));
  CHECK(fixture.queue.NextDeadline() == AtMs(5));
  fixture.queue.DropUnwanted(AtMs(6));
  CHECK(fixture.queue.NextDeadline() == AtMs(9));
  CHECK(fixture.queue.num_accepted() == 3);
}

TEST_CASE("A request that has expired when it is pushed is refused and stays with its caller") {
  RequestQueue queue{RequestQueueOptions()};
  TestClient client;
  auto request = MakeRequest(&client, {1}, 1);
  request->deadline = AtMs(5);
  request->times.enqueued = AtMs(5);
  CHECK(queue.Push(request) == absl::DeadlineExceededError("the deadline has passed"));
  REQUIRE(request != nullptr);
  CHECK(client.num_finishes == 0);
  CHECK(queue.num_accepted() == 0);
  request->times.enqueued = AtMs(4);
  CHECK(queue.Push(request).ok());
}

TEST_CASE("A thread that waits is woken by Push, Wake and Close") {
  Fixture fixture;
  bool result = false;
  std::thread consumer([&] { result = fixture.queue.WaitForWork(absl::InfiniteFuture()); });
  SECTION("Push") {
    fixture.Push();
    consumer.join();
    CHECK(result);
  }
  SECTION("Wake") {
    fixture.queue.Wake();
    consumer.join();
    CHECK_FALSE(result);
  }
  SECTION("Close") {
    fixture.queue.Close();
    consumer.join();
    CHECK_FALSE(result);
  }
}

// Four producers push numbered requests through a queue of eight, trying again when it is full; one
// in seven has expired already. The consumer must see each producer's requests in order, and each
// request must either be taken or told DEADLINE_EXCEEDED, once.
TEST_CASE("Many producers and one consumer lose, double and reorder nothing") {
  constexpr int kProducers = 4;
  constexpr int kEach = 2000;
  RequestQueue queue(RequestQueueOptions{.max_requests = 8});
  std::vector<std::vector<TestClient>> clients(kProducers, std::vector<TestClient>(kEach));
  std::atomic<int> producing = kProducers;
  std::vector<std::thread> producers;
  for (int p = 0; p < kProducers; ++p) {
    producers.emplace_back([&, p] {
      for (int i = 0; i < kEach; ++i) {
        auto request = MakeRequest(&clients[p][i], {p, i}, 1);
        if (i % 7 == 0) request->deadline = AtMs(0);
        while (!queue.Push(request).ok()) std::this_thread::yield();
        if (i % 100 == 0) queue.Wake();
      }
      if (--producing == 0) queue.Close();
    });
  }
  std::vector<std::vector<int>> taken(kProducers);
  bool last_round = false;
  while (!last_round) {
    queue.WaitForWork(absl::InfiniteFuture());
    last_round = queue.closed();  // before the rest is taken: nothing comes after it
    queue.DropUnwanted(AtMs(1));
    while (queue.Front(AtMs(1)) != nullptr) {
      const auto request = queue.PopFront();
      taken[request->prompt[0]].push_back(request->prompt[1]);
    }
  }
  for (std::thread& producer : producers) producer.join();

  for (int p = 0; p < kProducers; ++p) {
    std::vector<int> expected;
    for (int i = 0; i < kEach; ++i) {
      if (i % 7 != 0) expected.push_back(i);
      REQUIRE(clients[p][i].num_finishes == (i % 7 == 0 ? 1 : 0));
    }
    REQUIRE(taken[p] == expected);
  }
  CHECK(queue.depth().requests == 0);
}

}  // namespace
}  // namespace glimpse
