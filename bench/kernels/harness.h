// How glimpse-kernels times a kernel. An operator's file gives its cases, in a function that
// cases.h declares and main.cc lists:
//
//   std::vector<Case> NormCases() {
//     auto memory = std::make_shared<DeviceMemory>();
//     const double bytes = 2.0 * rows * width * sizeof(bf16);
//     std::vector<kernels::RmsNorm> turns(Turns(bytes));
//     for (auto& args : turns) {
//       args = {memory->Random(rows * width), memory->Random(width),
//               memory->Zeros<bf16>(rows * width), rows, width, eps};
//     }
//     return {{"rms_norm", "2048 x 4096", bytes, 0, memory, InTurn(turns)}};
//   }
#ifndef GLIMPSE_BENCH_KERNELS_HARNESS_H_
#define GLIMPSE_BENCH_KERNELS_HARNESS_H_

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bench/statistics.h"
#include "engine/kernels/kernels.h"

namespace glimpse::bench {

// Memory of the device that lives as long as this. Sizes are elements; all pointers are 256-byte
// aligned.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  ~DeviceMemory();
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  kernels::bf16* Random(int64_t count, float scale = 1);  // uniform in [-scale, scale)
  template <typename T>
  T* Zeros(int64_t count) {
    return static_cast<T*>(Allocate(count * static_cast<int64_t>(sizeof(T))));
  }
  template <typename T>
  T* Copy(const std::vector<T>& values) {
    T* data = Zeros<T>(static_cast<int64_t>(values.size()));
    Upload(values.data(), values.size() * sizeof(T), data);
    return data;
  }

 private:
  void* Allocate(int64_t bytes);  // zeroed
  static void Upload(const void* from, size_t bytes, void* to);

  std::vector<void*> blocks_;
  uint32_t seed_ = 0;
};

// What is timed. One of `bytes` and `flops` bounds the kernel; the other may be 0.
struct Case {
  std::string kernel;
  std::string shape;
  double bytes = 0;                      // that must move between memory and chip, each once
  double flops = 0;                      // of matrix products, 2 a multiply-add
  std::shared_ptr<DeviceMemory> memory;  // what `run` works on
  // Enqueues one launch, on other buffers than the call before; is called while a graph is
  // captured.
  std::function<void(cudaStream_t)> run;
};

// Sets of buffers to take in turn, so that one of `bytes` is no longer in the L2 cache when its
// turn comes again.
int Turns(double bytes);

// A Case's `run`: launches each of `turns` in its turn.
template <typename Args>
std::function<void(cudaStream_t)> InTurn(std::vector<Args> turns) {
  return [turns = std::move(turns), next = size_t{0}](cudaStream_t stream) mutable {
    Launch(turns[next++ % turns.size()], stream);
  };
}

// What the card can do, measured: the best of the runs.
struct Walls {
  double read_gb_s = 0;        // of a kernel that reads 4 GiB and does nothing else
  double product_tflop_s = 0;  // of the library's bf16 product of 8192 cubed
};
Walls MeasureWalls(cudaStream_t stream);

// out [m, n] = x [m, k] * w [n, k]^T by the library (cuBLAS), the rival of the matrix kernels.
struct LibraryProduct {
  const kernels::bf16* x = nullptr;
  const kernels::bf16* w = nullptr;
  kernels::bf16* out = nullptr;
  int m = 0;
  int n = 0;
  int k = 0;
};
void Launch(const LibraryProduct& args, cudaStream_t stream);

// Microseconds of one launch: 10 warm-ups, then 50 runs of a graph of many launches one behind the
// other.
Summary Time(const Case& timed, cudaStream_t stream);

}  // namespace glimpse::bench

#endif  // GLIMPSE_BENCH_KERNELS_HARNESS_H_
