// What goes where in the device's memory: whether the weights fit, and how many KV blocks there are
// once all else has its memory. Looks at what is free now; changes nothing. Any thread.
#ifndef GLIMPSE_ENGINE_MEMORY_PLAN_H_
#define GLIMPSE_ENGINE_MEMORY_PLAN_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "absl/status/statusor.h"
#include "engine/config.h"
#include "engine/engine.h"
#include "engine/schedule/model_limits.h"

namespace glimpse {

// RESOURCE_EXHAUSTED where the weights need more memory than there is. `tensors`: the model's type
// and device.
absl::Status CheckWeightsFit(const EngineOptions& options, const ModelConfig& config,
                             const at::TensorOptions& tensors);

// Bytes that the cache of a LibraryRunner may take, or of a GpuRunner that has all else.
int64_t LibraryKvBytes(const EngineOptions& options, c10::Device device);
int64_t GpuKvBytes(c10::Device device);

// KV blocks that fit `options` and the `free` bytes. INVALID_ARGUMENT: kv_cache_bytes is less than
// a block; RESOURCE_EXHAUSTED: more than is free.
absl::StatusOr<int> CountBlocks(const EngineOptions& options, const ModelLimits& limits,
                                int64_t block_bytes, int64_t free);

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_MEMORY_PLAN_H_
