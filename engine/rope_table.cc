#include "engine/rope_table.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/pow.h>

namespace glimpse {

// theta_i = base^(-2 i / rotary); the angle of pair i at position p is p theta_i.
RopeTable::RopeTable(const LanguageConfig& config, const at::TensorOptions& options) {
  const at::TensorOptions f32 = options.dtype(at::kFloat);
  const at::Tensor pair = at::arange(0, config.rotary_size, 2, f32);
  const at::Tensor theta = at::pow(config.rope_base, pair.div(-config.rotary_size));
  const at::Tensor angle = at::arange(config.max_context, f32).unsqueeze(1) * theta;
  cos = angle.cos().to(options).to(at::kFloat);
  sin = angle.sin().to(options).to(at::kFloat);
}

}  // namespace glimpse
