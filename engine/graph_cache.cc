#include "engine/graph_cache.h"

#include <ATen/cuda/CUDAGraph.h>
#include <ATen/ops/equal.h>
#include <c10/cuda/CUDACachingAllocator.h>

#include <cstdio>
#include <exception>
#include <utility>

#include "engine/kernels/cuda_error.h"
#include "preprocess/check.h"

namespace glimpse {
namespace {

int64_t FreeDeviceBytes() {
  size_t free = 0, total = 0;
  CheckCuda(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  return static_cast<int64_t>(free);
}

// A capture that ends in whatever way; the stream is usable again after it.
class StreamCapture {
 public:
  explicit StreamCapture(cudaStream_t stream) : stream_(stream) {
    CheckCuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "begin capture");
  }
  ~StreamCapture() {
    if (graph_ == nullptr) cudaStreamEndCapture(stream_, &graph_);
    if (graph_ != nullptr) cudaGraphDestroy(graph_);
    cudaGetLastError();  // what a broken capture leaves
  }
  cudaGraph_t End() {
    CheckCuda(cudaStreamEndCapture(stream_, &graph_), "end capture");
    return graph_;
  }

 private:
  const cudaStream_t stream_;
  cudaGraph_t graph_ = nullptr;
};

// While it lives, libtorch takes memory for the stream from the pool.
class PoolScope {
 public:
  PoolScope(const c10::cuda::CUDAStream& stream, c10::MempoolId_t pool)
      : device_(stream.device_index()), pool_(pool) {
    const cudaStream_t raw = stream;
    c10::cuda::CUDACachingAllocator::beginAllocateToPool(
        device_, pool_, [raw](cudaStream_t other) { return other == raw; });
  }
  ~PoolScope() { c10::cuda::CUDACachingAllocator::endAllocateToPool(device_, pool_); }

 private:
  const c10::DeviceIndex device_;
  const c10::MempoolId_t pool_;
};

}  // namespace

GraphCache::GraphCache(c10::cuda::CUDAStream stream, const GraphPolicy& policy)
    : stream_(stream), policy_(policy), pool_(at::cuda::graph_pool_handle()) {}

bool GraphCache::Wants(GraphKey key) const {
  if (!policy_.enabled || policy_.sizes.count(key) == 0) return false;
  const auto found = entries_.find(key);
  return found == entries_.end() ||
         (found->second.graph == nullptr && found->second.given_up.empty());
}

void GraphCache::Invalidate() {
  entries_.clear();
  while (pool_uses_ > 0) ReleasePool();
  bytes_ = 0;
}

void GraphCache::Drop(GraphKey key) {
  const auto found = entries_.find(key);
  GLIMPSE_CHECK(found != entries_.end() && found->second.graph != nullptr, "no graph to drop");
  Destroy(&found->second);
  entries_.erase(found);
}

void GraphCache::Destroy(Entry* entry) {
  const int64_t free_before = FreeDeviceBytes();
  entry->graph.reset();
  ReleasePool();
  bytes_ -= FreeDeviceBytes() - free_before;
}

void GraphCache::GiveUp(Entry* entry, const std::string& reason) {
  entry->given_up = reason;
  CheckCuda(cudaStreamSynchronize(stream_), "steps before a graph is given up");
  Destroy(entry);
}

void GraphCache::ReleasePool() {
  c10::cuda::CUDACachingAllocator::releasePool(stream_.device_index(), pool_);
  // A pool without uses can't be taken up again.
  if (--pool_uses_ == 0) pool_ = at::cuda::graph_pool_handle();
}

std::map<GraphKey, GraphUse> GraphCache::Uses() const {
  std::map<GraphKey, GraphUse> uses;
  for (const auto& [key, entry] : entries_) {
    if (entry.given_up.empty()) uses[key] = entry.use;
  }
  return uses;
}

// Null if it can't be captured.
GraphCache::Graph GraphCache::Capture(const Enqueue& enqueue) {
  Graph graph;
  const int uses_before = pool_uses_;
  try {
    const int64_t free_before = FreeDeviceBytes();
    StreamCapture capture(stream_);
    {
      const PoolScope scope(stream_, pool_);
      ++pool_uses_;
      enqueue();
    }
    cudaGraphExec_t instance = nullptr;
    CheckCuda(cudaGraphInstantiate(&instance, capture.End(), 0), "instantiate");
    graph.reset(instance);
    CheckCuda(cudaGraphUpload(instance, stream_), "upload");
    CheckCuda(cudaStreamSynchronize(stream_), "upload");
    bytes_ += free_before - FreeDeviceBytes();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "a step could not be captured and runs eagerly: %s\n", error.what());
    graph.reset();
    if (pool_uses_ > uses_before) ReleasePool();
  }
  return graph;
}

void GraphCache::Record(GraphKey key, const Enqueue& enqueue, const Trial& trial) {
  GLIMPSE_CHECK(Wants(key), "a graph is recorded once");
  trial.prepare();
  enqueue();
  const at::Tensor eager = trial.result().clone();
  CheckCuda(cudaStreamSynchronize(stream_), "eager trial");

  Entry entry;
  entry.graph = Capture(enqueue);
  entry.use = {.recorded = true, .last_step = steps_};
  if (entry.graph == nullptr) {
    entry.given_up = "capture";
  } else {
    ++stats_.captures;
    trial.prepare();
    trial.result().zero_();
    if (cudaGraphLaunch(entry.graph.get(), stream_) != cudaSuccess) {
      cudaGetLastError();  // a sticky one shows in the next call
      GiveUp(&entry, "replay");
    } else if (!at::equal(trial.result(), eager)) {
      GiveUp(&entry, "check");
    }
  }
  entries_[key] = std::move(entry);
}

void GraphCache::Run(GraphKey key, const Enqueue& enqueue) {
  ++steps_;
  const auto found = entries_.find(key);
  if (found != entries_.end() && found->second.graph != nullptr) {
    Entry& entry = found->second;
    if (cudaGraphLaunch(entry.graph.get(), stream_) == cudaSuccess) {
      entry.use.last_step = steps_;
      ++stats_.replays[key];
      return;
    }
    cudaGetLastError();  // a sticky one shows in the next call
    GiveUp(&entry, "replay");
  }
  if (Wants(key)) ++entries_[key].use.misses;
  ++stats_.eager_steps[{key.kind, WhyEager(key)}];
  enqueue();
}

std::string GraphCache::WhyEager(GraphKey key) const {
  if (!policy_.enabled) return "off";
  const auto found = entries_.find(key);
  if (found == entries_.end()) return "size";
  return found->second.given_up.empty() ? "uncaptured" : found->second.given_up;
}

}  // namespace glimpse
