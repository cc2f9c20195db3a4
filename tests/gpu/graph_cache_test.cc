// Graphs that can't be captured or don't do what eager execution does.
#include "engine/graph_cache.h"

#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <catch2/catch.hpp>
#include <stdexcept>

namespace glimpse {
namespace {

constexpr GraphKey kKey = {StepKind::kDecode, 4};
const GraphPolicy kPolicy = {.enabled = true, .sizes = {kKey}, .at_start = {}};

// A step that adds `step` to a number on the device.
struct Counter {
  c10::cuda::CUDAStream stream = c10::cuda::getStreamFromPool();
  c10::cuda::CUDAStreamGuard guard{stream};
  at::Tensor sum = at::zeros({1}, at::TensorOptions().dtype(at::kInt).device(at::kCUDA));
  int calls = 0;

  GraphCache::Trial Trial() {
    return {[this] { sum.zero_(); }, [this] { return sum; }};
  }
  int Sum() { return sum.item<int>(); }
};

TEST_CASE("a step is replayed after it was recorded") {
  Counter counter;
  GraphCache graphs(counter.stream, kPolicy);
  const auto add = [&] {
    ++counter.calls;
    counter.sum.add_(1);
  };
  CHECK(graphs.Wants(kKey));
  graphs.Record(kKey, add, counter.Trial());
  CHECK(!graphs.Wants(kKey));
  counter.sum.zero_();
  counter.calls = 0;
  for (int i = 0; i < 3; ++i) graphs.Run(kKey, add);
  CHECK(counter.Sum() == 3);
  CHECK(counter.calls == 0);
  CHECK(graphs.stats().replays.at(kKey) == 3);
  CHECK(graphs.stats().eager_steps.empty());

  graphs.Invalidate();
  CHECK(graphs.Wants(kKey));
}

TEST_CASE("a step that can't be captured runs eagerly from then on") {
  Counter counter;
  GraphCache graphs(counter.stream, kPolicy);
  const auto add = [&] {
    ++counter.calls;
    counter.sum.add_(1);
    if (cudaStreamSynchronize(counter.stream) != cudaSuccess) {
      throw std::runtime_error("no waiting while a step is captured");
    }
  };
  graphs.Record(kKey, add, counter.Trial());
  CHECK(!graphs.Wants(kKey));
  counter.sum.zero_();
  graphs.Run(kKey, add);
  CHECK(counter.Sum() == 1);
  CHECK(graphs.stats().eager_steps.at({StepKind::kDecode, "capture"}) == 1);
  CHECK(graphs.stats().captures == 0);
}

TEST_CASE("a graph that gives another result than eager execution is not used") {
  Counter counter;
  GraphCache graphs(counter.stream, kPolicy);
  // What is added depends on the host at the time of the call, so a replay repeats the capture's.
  const auto add = [&] { counter.sum.add_(++counter.calls); };
  graphs.Record(kKey, add, counter.Trial());
  counter.sum.zero_();
  counter.calls = 10;
  graphs.Run(kKey, add);
  CHECK(counter.Sum() == 11);
  CHECK(graphs.stats().eager_steps.at({StepKind::kDecode, "check"}) == 1);
}

TEST_CASE("a graph whose replay fails gives way to eager execution, which gives the same") {
  Counter counter;
  GraphCache graphs(counter.stream, kPolicy);
  // A graph that takes memory and does not give it back runs once: that is the trial.
  void* memory = nullptr;
  const auto add = [&] {
    void* scratch = nullptr;
    REQUIRE(cudaMallocAsync(&scratch, 256, counter.stream) == cudaSuccess);
    counter.sum.add_(1);
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    REQUIRE(cudaStreamIsCapturing(counter.stream, &status) == cudaSuccess);
    if (status == cudaStreamCaptureStatusNone) {
      REQUIRE(cudaFreeAsync(scratch, counter.stream) == cudaSuccess);
    } else {
      memory = scratch;
    }
  };
  graphs.Record(kKey, add, counter.Trial());
  CHECK(graphs.stats().captures == 1);
  counter.sum.zero_();
  for (int i = 0; i < 3; ++i) graphs.Run(kKey, add);
  CHECK(counter.Sum() == 3);
  CHECK(graphs.stats().replays.empty());
  CHECK(graphs.stats().eager_steps.at({StepKind::kDecode, "replay"}) == 3);
  CHECK(!graphs.Wants(kKey));
  CHECK(graphs.Uses().empty());
  CHECK(cudaFreeAsync(memory, counter.stream) == cudaSuccess);
  CHECK(cudaGetLastError() == cudaSuccess);
}

TEST_CASE("a graph that was dropped is missed, and can be recorded again") {
  Counter counter;
  GraphCache graphs(counter.stream, kPolicy);
  const auto add = [&] { counter.sum.add_(1); };
  graphs.Run(kKey, add);
  CHECK(graphs.Uses().at(kKey).misses == 1);
  graphs.Record(kKey, add, counter.Trial());
  graphs.Run(kKey, add);
  CHECK(graphs.Uses().at(kKey).recorded);
  CHECK(graphs.Uses().at(kKey).last_step == 2);

  graphs.Drop(kKey);
  CHECK(graphs.Wants(kKey));
  counter.sum.zero_();
  graphs.Run(kKey, add);
  CHECK(graphs.Uses().at(kKey).misses == 1);
  CHECK(graphs.stats().eager_steps.at({StepKind::kDecode, "uncaptured"}) == 2);
  graphs.Record(kKey, add, counter.Trial());
  counter.sum.zero_();
  graphs.Run(kKey, add);
  CHECK(counter.Sum() == 1);
  CHECK(graphs.stats().replays.at(kKey) == 2);
}

TEST_CASE("graphs are recorded and dropped as ever after one that was given up") {
  Counter counter;
  constexpr GraphKey kOther = {StepKind::kDecode, 8};
  GraphCache graphs(counter.stream, {.enabled = true, .sizes = {kKey, kOther}, .at_start = {}});
  const bool captured = GENERATE(false, true);
  graphs.Record(
      kKey,
      [&] {
        counter.sum.add_(++counter.calls);  // as often as it is called, not replayed
        if (!captured && cudaStreamSynchronize(counter.stream) != cudaSuccess) {
          throw std::runtime_error("no waiting while a step is captured");
        }
      },
      counter.Trial());
  CHECK(graphs.Uses().empty());
  CHECK(graphs.stats().captures == (captured ? 1 : 0));
  const auto add = [&] { counter.sum.add_(1); };
  for (int times = 1; times <= 2; ++times) {
    graphs.Record(kOther, add, counter.Trial());
    counter.sum.zero_();
    graphs.Run(kOther, add);
    CHECK(counter.Sum() == 1);
    CHECK(graphs.stats().replays.at(kOther) == times);
    graphs.Drop(kOther);
  }
}

TEST_CASE("graphs that are off or of a size that none has are counted") {
  Counter counter;
  const auto add = [&] { counter.sum.add_(1); };
  GraphCache off(counter.stream, {.enabled = false, .sizes = {}, .at_start = {}});
  CHECK(!off.Wants(kKey));
  off.Run(kKey, add);
  CHECK(off.stats().eager_steps.at({StepKind::kDecode, "off"}) == 1);
  GraphCache on(counter.stream, kPolicy);
  CHECK(!on.Wants({StepKind::kPrefill, 5000}));
  on.Run({StepKind::kPrefill, 5000}, add);
  CHECK(on.stats().eager_steps.at({StepKind::kPrefill, "size"}) == 1);
  CHECK(counter.Sum() == 2);
}

}  // namespace
}  // namespace glimpse
