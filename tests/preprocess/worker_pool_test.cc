#include "preprocess/worker_pool.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <future>
#include <latch>
#include <memory>
#include <thread>
#include <vector>

namespace glimpse {
namespace {

TEST_CASE("a worker pool runs each accepted task once") {
  std::vector<std::atomic<int>> runs(100);
  {
    WorkerPool pool(3, 100);
    for (std::atomic<int>& count : runs) {
      REQUIRE(pool.Submit([&count] { ++count; }).ok());
    }
  }
  for (const std::atomic<int>& count : runs) CHECK(count == 1);
}

TEST_CASE("a full worker pool refuses and leaves the task with the caller") {
  std::latch running(1), may_end(1);
  int ran = 0;
  WorkerPool::Task refused;
  {
    WorkerPool pool(1, 2);
    REQUIRE(pool.Submit([&] {
                  running.count_down();
                  may_end.wait();
                })
                .ok());
    running.wait();  // it no longer takes room in the queue
    CHECK(pool.Submit([&ran] { ++ran; }).ok());
    CHECK(pool.Submit([&ran] { ++ran; }).ok());
    refused = [&ran] { ran += 100; };
    CHECK(pool.Submit(std::move(refused)).code() == absl::StatusCode::kResourceExhausted);
    may_end.count_down();
  }
  CHECK(ran == 2);
  REQUIRE(refused);
  refused();
  CHECK(ran == 102);
}

TEST_CASE("a worker pool has room again when a task has left the queue") {
  std::latch running(1), may_end(1), second_ran(1);
  WorkerPool pool(1, 1);
  REQUIRE(pool.Submit([&] {
                running.count_down();
                may_end.wait();
              })
              .ok());
  running.wait();
  REQUIRE(pool.Submit([&] { second_ran.count_down(); }).ok());
  REQUIRE(!pool.Submit([] {}).ok());
  may_end.count_down();
  second_ran.wait();
  CHECK(pool.Submit([] {}).ok());
}

TEST_CASE("a worker pool's threads work at the same time") {
  std::latch together(3);  // opens only when all three tasks run
  {
    WorkerPool pool(3, 3);
    for (int i = 0; i < 3; ++i) {
      REQUIRE(pool.Submit([&together] { together.arrive_and_wait(); }).ok());
    }
  }
  CHECK(together.try_wait());
}

TEST_CASE("one thread takes tasks in the order of their acceptance") {
  std::vector<int> order;
  {
    WorkerPool pool(1, 10);
    for (int i = 0; i < 10; ++i) {
      REQUIRE(pool.Submit([&order, i] { order.push_back(i); }).ok());
    }
  }
  CHECK(order == std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
}

TEST_CASE("a worker pool takes tasks that can only be moved, and tasks from tasks") {
  std::promise<int> answer;
  auto number = std::make_unique<int>(42);
  WorkerPool pool(1, 2);
  REQUIRE(pool.Submit([&pool, &answer, number = std::move(number)]() mutable {
                const absl::Status status = pool.Submit(
                    [&answer, number = std::move(number)] { answer.set_value(*number); });
                if (!status.ok()) answer.set_value(0);
              })
              .ok());
  CHECK(answer.get_future().get() == 42);
}

TEST_CASE("tasks from many threads are all run or refused") {
  std::atomic<int> accepted = 0, ran = 0;
  {
    WorkerPool pool(2, 4);
    std::vector<std::thread> producers;
    for (int i = 0; i < 4; ++i) {
      producers.emplace_back([&] {
        for (int n = 0; n < 500; ++n) accepted += pool.Submit([&ran] { ++ran; }).ok();
      });
    }
    for (std::thread& producer : producers) producer.join();
  }
  CHECK(ran == accepted);
  CHECK(accepted > 0);
}

}  // namespace
}  // namespace glimpse
