// Cosines and sines of the rotary positions, in float32 but rounded to the model's type first, as
// the reference keeps them.
#ifndef GLIMPSE_ENGINE_ROPE_TABLE_H_
#define GLIMPSE_ENGINE_ROPE_TABLE_H_

#include <ATen/core/Tensor.h>

#include "engine/config.h"

namespace glimpse {

struct RopeTable {
  // `options`: the model's type and device.
  RopeTable(const LanguageConfig& config, const at::TensorOptions& options);

  at::Tensor cos, sin;  // [positions, rotary / 2] float32
};

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_ROPE_TABLE_H_
