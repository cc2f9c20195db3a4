// Captured CUDA graphs of steps, by kind and padded size. Eager execution stands behind each: a key
// that could not be captured, checked or replayed runs eagerly from then on, and the reason is
// counted.
//
//   if (!graphs.Has(key)) graphs.Record(key, enqueue, trial);  // at start, or at first use
//   graphs.Run(key, enqueue);
//
// A captured graph holds the addresses that its kernels were given, so whoever moves weights, cache
// or buffers calls Invalidate. What libtorch allocates during a capture comes from a pool that all
// graphs share (they run one after the other) and nobody else gets. One stream; serving thread
// alone.
#ifndef GLIMPSE_ENGINE_GRAPH_CACHE_H_
#define GLIMPSE_ENGINE_GRAPH_CACHE_H_

#include <ATen/core/Tensor.h>
#include <c10/cuda/CUDAGraphsC10Utils.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <type_traits>

#include "engine/step_stats.h"

namespace glimpse {

class GraphCache {
 public:
  using Enqueue = std::function<void()>;  // puts a step's kernels on the stream

  // A step that belongs to nobody, to compare a fresh graph with eager execution.
  struct Trial {
    Enqueue prepare;                     // puts its inputs in place
    std::function<at::Tensor()> result;  // what the step leaves, on the device
  };

  // `enabled` false: everything runs eagerly.
  GraphCache(c10::cuda::CUDAStream stream, bool enabled);
  ~GraphCache() { Invalidate(); }
  GraphCache(const GraphCache&) = delete;
  GraphCache& operator=(const GraphCache&) = delete;

  // Worth a Record: neither recorded nor given up.
  bool Wants(GraphKey key) const { return enabled_ && entries_.count(key) == 0; }

  // Runs the trial eagerly (which also warms the libraries up), captures, replays the trial and
  // compares the results bit for bit. Waits for the device. Throws only what eager execution
  // throws.
  void Record(GraphKey key, const Enqueue& enqueue, const Trial& trial);

  // Replays the key's graph, or calls `enqueue` where there is none.
  void Run(GraphKey key, const Enqueue& enqueue);

  // Drops all graphs; the device must have finished with them.
  void Invalidate();

  const GraphStats& stats() const { return stats_; }
  int64_t bytes() const;  // device memory that the graphs hold

 private:
  struct DestroyGraph {
    void operator()(cudaGraphExec_t graph) const { cudaGraphExecDestroy(graph); }
  };
  using Graph = std::unique_ptr<std::remove_pointer_t<cudaGraphExec_t>, DestroyGraph>;
  struct Entry {
    Graph graph;  // null: runs eagerly, because of `reason`
    std::string reason;
    int64_t bytes = 0;
  };

  Entry Capture(const Enqueue& enqueue);

  const c10::cuda::CUDAStream stream_;
  const bool enabled_;
  const c10::MempoolId_t pool_;
  int pool_uses_ = 0;  // libtorch counts each capture as one
  std::map<GraphKey, Entry> entries_;
  GraphStats stats_;
};

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_GRAPH_CACHE_H_
