// Captured CUDA graphs of steps, by kind and padded size. Eager execution stands behind each: a key
// that could not be captured, checked or replayed runs eagerly from then on, and the reason is
// counted.
//
//   if (graphs.Wants(key)) graphs.Record(key, enqueue, trial);  // at start, or when it is due
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

#include "engine/graph_policy.h"
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

  // Where the policy is not enabled, or has not the size, steps run eagerly.
  GraphCache(c10::cuda::CUDAStream stream, const GraphPolicy& policy);
  ~GraphCache() { Invalidate(); }
  GraphCache(const GraphCache&) = delete;
  GraphCache& operator=(const GraphCache&) = delete;

  // One of the policy's sizes, neither recorded nor given up.
  bool Wants(GraphKey key) const;

  // Runs the trial eagerly (which also warms the libraries up), captures, replays the trial and
  // compares the results bit for bit. Waits for the device. Throws only what eager execution
  // throws.
  void Record(GraphKey key, const Enqueue& enqueue, const Trial& trial);

  // Replays the key's graph, or calls `enqueue` where there is none. Waits for the device only when
  // a graph is given up, which is once.
  void Run(GraphKey key, const Enqueue& enqueue);

  // Drop one graph, or all; the device must have finished with them.
  void Drop(GraphKey key);
  void Invalidate();

  // For NextGraphChange.
  std::map<GraphKey, GraphUse> Uses() const;
  int64_t steps() const { return steps_; }

  const GraphStats& stats() const { return stats_; }
  int64_t bytes() const { return bytes_; }  // device memory that the graphs hold

 private:
  struct DestroyGraph {
    void operator()(cudaGraphExec_t graph) const { cudaGraphExecDestroy(graph); }
  };
  using Graph = std::unique_ptr<std::remove_pointer_t<cudaGraphExec_t>, DestroyGraph>;
  struct Entry {
    Graph graph;           // null: runs eagerly
    std::string given_up;  // for good, for this reason
    GraphUse use;
  };

  Graph Capture(const Enqueue& enqueue);
  void Destroy(Entry* entry);  // its graph, with which the device has finished
  void GiveUp(Entry* entry, const std::string& reason);
  void ReleasePool();  // one use of it
  std::string WhyEager(GraphKey key) const;

  const c10::cuda::CUDAStream stream_;
  const GraphPolicy policy_;
  c10::MempoolId_t pool_;
  int pool_uses_ = 0;                  // graphs that there are: libtorch counts each as one
  std::map<GraphKey, Entry> entries_;  // of the policy's sizes, those that were recorded or missed
  int64_t steps_ = 0;
  int64_t bytes_ = 0;
  GraphStats stats_;
};

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_GRAPH_CACHE_H_
