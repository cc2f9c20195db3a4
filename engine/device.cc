#include "engine/device.h"

#include <ATen/Context.h>
#include <ATen/DeviceAccelerator.h>
#include <ATen/cuda/CUDAContext.h>

#include <fstream>
#include <limits>

#include "absl/status/status.h"
#include "engine/safetensors.h"

namespace glimpse {
namespace {

// MemAvailable counts the page cache, which sysinfo's free memory does not.
int64_t FreeHostBytes() {
  std::ifstream file("/proc/meminfo");
  std::string key, unit;
  int64_t kib = 0;
  while (file >> key >> kib) {
    std::getline(file, unit);
    if (key == "MemAvailable:") return kib * 1024;
  }
  return std::numeric_limits<int64_t>::max();  // unknown: the allocation itself will tell
}

}  // namespace

absl::StatusOr<c10::Device> ResolveDevice(const std::string& name) {
  const bool has_cuda = at::getNumGPUs() > 0;
  if (name == "cpu" || (name == "auto" && !has_cuda)) return c10::Device(c10::kCPU);
  if (name != "cuda" && name != "auto") {
    return absl::InvalidArgumentError("device must be auto, cpu or cuda, not \"" + name + "\"");
  }
  if (!has_cuda) {
    return absl::FailedPreconditionError("device is cuda, but there is no CUDA device");
  }
  return c10::Device(c10::kCUDA, 0);
}

absl::StatusOr<c10::ScalarType> ResolveType(const std::string& name, const std::string& model_dtype,
                                            c10::Device device) {
  const std::string automatic = device.is_cpu() ? "float32" : model_dtype;
  const std::optional<DType> dtype = DTypeFromName(name == "auto" ? automatic : name);
  if (!dtype) {
    return absl::InvalidArgumentError("dtype must be auto, float32, bfloat16 or float16, not \"" +
                                      name + "\"");
  }
  return *dtype == DType::kFloat32    ? c10::kFloat
         : *dtype == DType::kBFloat16 ? c10::kBFloat16
                                      : c10::kHalf;
}

std::string TypeName(c10::ScalarType type) {
  return DTypeName(type == c10::kFloat      ? DType::kFloat32
                   : type == c10::kBFloat16 ? DType::kBFloat16
                                            : DType::kFloat16);
}

bool HasKernels(const c10::TensorOptions& tensors) {
  constexpr int kHopper = 9;  // major compute capability
  return tensors.device().is_cuda() && tensors.dtype() == c10::kBFloat16 &&
         at::cuda::getCurrentDeviceProperties()->major == kHopper;
}

bool IsBroken(c10::Device device) {
  if (device.is_cpu()) return false;
  cudaGetLastError();
  // Neither does anything, and both give back what has broken the context before.
  const cudaError_t freed = cudaFree(nullptr), asked = cudaStreamQuery(cudaStreamPerThread);
  return freed != cudaSuccess || (asked != cudaSuccess && asked != cudaErrorNotReady);
}

int64_t FreeBytes(c10::Device device) {
  if (device.is_cpu()) return FreeHostBytes();
  at::accelerator::emptyCache();
  return FreeGpuBytes(device);
}

int64_t FreeGpuBytes(c10::Device device) {
  return static_cast<int64_t>(at::accelerator::getMemoryInfo(device.index()).first);
}

}  // namespace glimpse
