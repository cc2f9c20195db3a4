// Which device and type the model gets, and how much memory is left there. Only engine/ includes
// this.
#ifndef GLIMPSE_ENGINE_DEVICE_H_
#define GLIMPSE_ENGINE_DEVICE_H_

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>
#include <c10/core/TensorOptions.h>

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace glimpse {

// "auto", "cpu" or "cuda". INVALID_ARGUMENT: another word; FAILED_PRECONDITION: CUDA is asked for
// and there is no usable device.
absl::StatusOr<c10::Device> ResolveDevice(const std::string& name);

// "float32", "bfloat16", "float16", or "auto": float32 on a CPU, `model_dtype` on a GPU.
// INVALID_ARGUMENT: another word.
absl::StatusOr<c10::ScalarType> ResolveType(const std::string& name, const std::string& model_dtype,
                                            c10::Device device);

// The reverse: "float32", "bfloat16", "float16".
std::string TypeName(c10::ScalarType type);

// Whether the project's kernels run there: bfloat16 on a Hopper GPU, which must be the current one.
bool HasKernels(const c10::TensorOptions& tensors);

// After an error: whether it is one of those that stay and fail all that comes (an illegal address,
// a trap, memory that can't be corrected). Forgets one that does not.
bool IsBroken(c10::Device device);

// Bytes that can still be allocated. On a GPU the caching allocator's unused blocks are given back
// first; the first allocation there must have been made.
int64_t FreeBytes(c10::Device device);

// Bytes of a GPU that nobody has, not even the caching allocator.
int64_t FreeGpuBytes(c10::Device device);

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_DEVICE_H_
