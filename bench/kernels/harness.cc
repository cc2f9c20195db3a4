#include "bench/kernels/harness.h"

#include <cublas_v2.h>

#include <algorithm>
#include <cmath>

#include "bench/kernels/device_code.h"
#include "engine/kernels/cuda_error.h"
#include "preprocess/check.h"

namespace glimpse::bench {
namespace {

constexpr double kFlushBytes = 128 << 20;  // more than twice the L2 cache
constexpr int kWarmUps = 10;
constexpr int kRuns = 50;
constexpr double kRunMicroseconds = 400;  // of a graph: the start of a graph is lost in it
constexpr int kMostLaunches = 200;        // of a graph

void CheckCublas(cublasStatus_t status, const char* what) {
  GLIMPSE_CHECK(status == CUBLAS_STATUS_SUCCESS, what);
}

// One handle a process: it holds a workspace.
cublasHandle_t Cublas() {
  static const cublasHandle_t handle = [] {
    cublasHandle_t created = nullptr;
    CheckCublas(cublasCreate(&created), "cublasCreate");
    // Its own workspace is not allowed in a captured graph.
    void* workspace = nullptr;
    CheckCuda(cudaMalloc(&workspace, 32 << 20), "cudaMalloc");
    CheckCublas(cublasSetWorkspace(created, workspace, 32 << 20), "cublasSetWorkspace");
    return created;
  }();
  return handle;
}

// `launches` launches as one graph.
class Graph {
 public:
  Graph(const Case& timed, int launches, cudaStream_t stream) {
    cudaGraph_t graph = nullptr;
    CheckCuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), "capture");
    for (int i = 0; i < launches; ++i) timed.run(stream);
    CheckCuda(cudaStreamEndCapture(stream, &graph), "capture");
    CheckCuda(cudaGraphInstantiate(&graph_, graph, 0), "cudaGraphInstantiate");
    CheckCuda(cudaGraphDestroy(graph), "cudaGraphDestroy");
  }
  ~Graph() { cudaGraphExecDestroy(graph_); }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  void Replay(cudaStream_t stream) const { CheckCuda(cudaGraphLaunch(graph_, stream), "replay"); }

 private:
  cudaGraphExec_t graph_ = nullptr;
};

// Microseconds of each of `runs` replays, which are all enqueued before the first one ends, so that
// the host's time is in none.
std::vector<double> TimeReplays(const Graph& graph, int runs, cudaStream_t stream) {
  std::vector<cudaEvent_t> events(static_cast<size_t>(runs) + 1);
  for (cudaEvent_t& event : events) CheckCuda(cudaEventCreate(&event), "cudaEventCreate");
  CheckCuda(cudaEventRecord(events[0], stream), "cudaEventRecord");
  for (int i = 1; i <= runs; ++i) {
    graph.Replay(stream);
    CheckCuda(cudaEventRecord(events[i], stream), "cudaEventRecord");
  }
  CheckCuda(cudaStreamSynchronize(stream), "replays");
  std::vector<double> times;
  for (int i = 1; i <= runs; ++i) {
    float milliseconds = 0;
    CheckCuda(cudaEventElapsedTime(&milliseconds, events[i - 1], events[i]), "elapsed");
    times.push_back(1000.0 * milliseconds);
  }
  for (cudaEvent_t event : events) cudaEventDestroy(event);
  return times;
}

}  // namespace

DeviceMemory::~DeviceMemory() {
  for (void* block : blocks_) cudaFree(block);
}

void* DeviceMemory::Allocate(int64_t bytes) {
  void* block = nullptr;
  CheckCuda(cudaMalloc(&block, static_cast<size_t>(std::max<int64_t>(bytes, 1))), "cudaMalloc");
  blocks_.push_back(block);
  CheckCuda(cudaMemset(block, 0, static_cast<size_t>(bytes)), "cudaMemset");
  return block;
}

void DeviceMemory::Upload(const void* from, size_t bytes, void* to) {
  CheckCuda(cudaMemcpy(to, from, bytes, cudaMemcpyHostToDevice), "cudaMemcpy");
}

kernels::bf16* DeviceMemory::Random(int64_t count, float scale) {
  kernels::bf16* data = Zeros<kernels::bf16>(count);
  Launch(FillRandom{data, count, ++seed_, scale}, nullptr);
  return data;
}

int Turns(double bytes) {
  return std::clamp(static_cast<int>(std::ceil(kFlushBytes / bytes)), 2, 256);
}

void Launch(const LibraryProduct& args, cudaStream_t stream) {
  const float one = 1, zero = 0;
  CheckCublas(cublasSetStream(Cublas(), stream), "cublasSetStream");
  // cuBLAS counts columns first: out^T [n, m] = w x^T.
  CheckCublas(cublasGemmEx(Cublas(), CUBLAS_OP_T, CUBLAS_OP_N, args.n, args.m, args.k, &one, args.w,
                           CUDA_R_16BF, args.k, args.x, CUDA_R_16BF, args.k, &zero, args.out,
                           CUDA_R_16BF, args.n, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
              "cublasGemmEx");
}

Walls MeasureWalls(cudaStream_t stream) {
  Walls walls;
  auto memory = std::make_shared<DeviceMemory>();
  constexpr int64_t kBytes = int64_t{4} << 30;
  const ReadAll read{memory->Zeros<int4>(kBytes / 16), kBytes / 16, memory->Zeros<int>(1)};
  const auto run_read = [read](cudaStream_t on) { Launch(read, on); };
  const Summary reading = Time({"read", "4 GiB", kBytes, 0, memory, run_read}, stream);
  walls.read_gb_s = kBytes / reading.least / 1e3;

  constexpr int kSide = 8192;
  const auto matrix = [&] { return memory->Random(int64_t{kSide} * kSide); };
  const LibraryProduct product{matrix(), matrix(), matrix(), kSide, kSide, kSide};
  const double flops = 2.0 * kSide * kSide * kSide;
  const auto run_product = [product](cudaStream_t on) { Launch(product, on); };
  const Summary multiplying = Time({"product", "8192", 0, flops, memory, run_product}, stream);
  walls.product_tflop_s = flops / multiplying.least / 1e6;
  return walls;
}

Summary Time(const Case& timed, cudaStream_t stream) {
  timed.run(stream);  // what loads at first use must not do so in a capture
  CheckCuda(cudaStreamSynchronize(stream), timed.kernel.c_str());
  const double one = TimeReplays(Graph(timed, 1, stream), kWarmUps, stream).back();
  const int launches = std::clamp(static_cast<int>(kRunMicroseconds / one), 1, kMostLaunches);
  const Graph graph(timed, launches, stream);
  TimeReplays(graph, kWarmUps, stream);
  std::vector<double> times = TimeReplays(graph, kRuns, stream);
  for (double& time : times) time /= launches;
  return Summarize(std::move(times));
}

}  // namespace glimpse::bench
