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

GraphCache::GraphCache(c10::cuda::CUDAStream stream, bool enabled)
    : stream_(stream), enabled_(enabled), pool_(at::cuda::graph_pool_handle()) {}

void GraphCache::Invalidate() {
  entries_.clear();
  for (; pool_uses_ > 0; --pool_uses_) {
    c10::cuda::CUDACachingAllocator::releasePool(stream_.device_index(), pool_);
  }
}

GraphCache::Entry GraphCache::Capture(const Enqueue& enqueue) {
  Entry entry;
  try {
    const int64_t free_before = FreeDeviceBytes();
    StreamCapture capture(stream_);
    {
      const PoolScope scope(stream_, pool_);
      ++pool_uses_;
      enqueue();
    }
    cudaGraphExec_t graph = nullptr;
    CheckCuda(cudaGraphInstantiate(&graph, capture.End(), 0), "instantiate");
    entry.graph.reset(graph);
    CheckCuda(cudaGraphUpload(graph, stream_), "upload");
    CheckCuda(cudaStreamSynchronize(stream_), "upload");
    entry.bytes = free_before - FreeDeviceBytes();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "a step could not be captured and runs eagerly: %s\n", error.what());
    entry = {nullptr, "capture", 0};
  }
  return entry;
}

void GraphCache::Record(GraphKey key, const Enqueue& enqueue, const Trial& trial) {
  GLIMPSE_CHECK(Wants(key), "a graph is recorded once");
  trial.prepare();
  enqueue();
  const at::Tensor eager = trial.result().clone();
  CheckCuda(cudaStreamSynchronize(stream_), "eager trial");

  Entry entry = Capture(enqueue);
  if (entry.graph != nullptr) {
    ++stats_.captures;
    trial.prepare();
    trial.result().zero_();
    if (cudaGraphLaunch(entry.graph.get(), stream_) != cudaSuccess) {
      cudaGetLastError();  // a sticky one shows in the next call
      entry = {nullptr, "replay", 0};
    } else if (!at::equal(trial.result(), eager)) {
      entry = {nullptr, "check", 0};
    }
  }
  entries_[key] = std::move(entry);
}

void GraphCache::Run(GraphKey key, const Enqueue& enqueue) {
  const auto found = entries_.find(key);
  if (found != entries_.end() && found->second.graph != nullptr) {
    if (cudaGraphLaunch(found->second.graph.get(), stream_) == cudaSuccess) {
      ++stats_.replays[key];
      return;
    }
    cudaGetLastError();  // if it is a sticky one, the eager kernels will say so
    found->second = {nullptr, "replay", 0};
  }
  const std::string reason = !enabled_                 ? "off"
                             : found == entries_.end() ? "size"
                                                       : found->second.reason;
  ++stats_.eager_steps[{key.kind, reason}];
  enqueue();
}

int64_t GraphCache::bytes() const {
  int64_t sum = 0;
  for (const auto& [key, entry] : entries_) sum += entry.bytes;
  return sum;
}

}  // namespace glimpse
