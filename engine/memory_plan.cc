#include "engine/memory_plan.h"

#include <algorithm>
#include <limits>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/checkpoint.h"
#include "engine/device.h"
#include "engine/kv_cache.h"
#include "engine/schedule/sequence.h"

namespace glimpse {
namespace {

// Where kv_cache_bytes is 0, the cache takes no more than this.
constexpr int64_t kCpuKvBytes = int64_t{1} << 30;
constexpr double kGpuKvShare = 0.8;  // of what is free once the weights are there: libtorch alone
// What a GpuRunner leaves free. Pictures that wait in their slots: 13 MB each in the 9B, 0.84 GB if
// all of 64 slots have one at a time. The rest, 0.77 GB, is for decode buffers (some 50 MB, most of
// it logits), graphs and the libraries' surprises.
constexpr int64_t kGpuMarginBytes = int64_t{3} << 29;

}  // namespace

absl::Status CheckWeightsFit(const EngineOptions& options, const ModelConfig& config,
                             const at::TensorOptions& tensors) {
  const std::string type = TypeName(c10::typeMetaToScalarType(tensors.dtype()));
  const bool stays_mapped = options.load_format == LoadFormat::kAuto && type == config.dtype;
  if (tensors.device().is_cpu() && stays_mapped) return absl::OkStatus();
  int64_t bytes = 0;
  for (const TensorSpec& spec : ExpectedTensors(config)) {
    bytes += NumElements(spec.shape) * static_cast<int64_t>(tensors.dtype().itemsize());
  }
  const int64_t free = FreeBytes(tensors.device());
  if (bytes <= free) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("the weights take ", bytes, " bytes as ", type, ", but ", free, " are free"));
}

int64_t LibraryKvBytes(const EngineOptions& options, c10::Device device) {
  const int64_t free = FreeBytes(device);
  if (options.kv_cache_bytes > 0) return free;
  return device.is_cpu() ? std::min(kCpuKvBytes, free / 2)
                         : static_cast<int64_t>(kGpuKvShare * static_cast<double>(free));
}

int64_t GpuKvBytes(c10::Device device) { return FreeGpuBytes(device) - kGpuMarginBytes; }

absl::StatusOr<int> CountBlocks(const EngineOptions& options, const ModelLimits& limits,
                                int64_t block_bytes, int64_t free) {
  const int64_t wanted = int64_t{limits.max_batch_size} * BlocksFor(limits.max_context, limits);
  const int64_t room = free / block_bytes - KvCache::kExtraBlocks;
  int64_t blocks = options.kv_cache_bytes / block_bytes;
  if (options.kv_cache_bytes == 0) blocks = std::clamp(room, int64_t{1}, wanted);
  if (blocks < 1) {
    return absl::InvalidArgumentError(absl::StrCat("the KV cache needs at least ", block_bytes,
                                                   " bytes (kv_cache_bytes is ",
                                                   options.kv_cache_bytes, ")"));
  }
  if (blocks > room) {
    return absl::ResourceExhaustedError(absl::StrCat("the KV cache asks for ", blocks * block_bytes,
                                                     " bytes, but ", std::max(free, int64_t{0}),
                                                     " are free"));
  }
  const int64_t most =
      std::numeric_limits<int>::max() / limits.block_size - KvCache::kExtraBlocks;  // rows are ints
  return static_cast<int>(std::min(blocks, most));
}

}  // namespace glimpse
