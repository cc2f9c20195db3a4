#include "engine/vision_tower.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/div.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/silu.h>

namespace glimpse {
namespace {

constexpr double kAdapterNormEps = 1e-5;

at::Tensor Linear(const at::Tensor& x, const Affine& affine) {
  return at::linear(x, affine.weight, affine.bias);
}

}  // namespace

VisionTower::VisionTower(const VisionConfig& config, const VisionWeights& weights, bool own_kernels)
    : config_(config),
      weights_(weights),
      own_kernels_(own_kernels),
      attention_(config.num_heads, config.head_size, weights.positions.options(), own_kernels) {}

void VisionTower::Embed(const at::Tensor& pixels, at::Tensor x) const {
  const at::Tensor patches =
      PatchRows(pixels, config_.patch_size, weights_.positions.scalar_type(), own_kernels_);
  const at::Tensor rows =
      at::linear(patches, weights_.patches.weight.flatten(1), weights_.patches.bias);
  const at::Tensor cls = weights_.cls.expand({pixels.size(0), 1, -1});
  at::cat_out(x, {cls, rows}, 1).add_(weights_.positions);
}

void VisionTower::Layers(int first, int end, at::Tensor x) const {
  for (int i = first; i < end; ++i) {
    const VisionLayerWeights& weights = weights_.layers[i];
    const at::Tensor attended = attention_(Linear(x, weights.query_key_value));
    AddLayerNorm(Linear(attended, weights.dense), weights.input_layernorm, config_.norm_eps,
                 own_kernels_, &x);
    const at::Tensor hidden = LinearGelu(x, weights.fc1, own_kernels_);
    AddLayerNorm(Linear(hidden, weights.fc2), weights.post_attention_layernorm, config_.norm_eps,
                 own_kernels_, &x);
  }
}

void VisionTower::Finish(const at::Tensor& x, at::Tensor out) const {
  const at::Tensor rows = Adapt(Merge(x));
  const int64_t pictures = x.size(0);
  const at::Tensor boi = weights_.boi.expand({pictures, -1, -1});
  const at::Tensor eoi = weights_.eoi.expand({pictures, -1, -1});
  at::div_out(out, at::cat({boi, rows, eoi}, 1), config_.scaling_factor);
}

// Without the class token, and each square of four patches as one row: -> [n, patches / 4, hidden].
at::Tensor VisionTower::Merge(const at::Tensor& x) const {
  const int64_t half = config_.Grid() / 2;
  const at::Tensor squares = x.narrow(1, 1, config_.Patches())
                                 .unflatten(1, {half, 2, half, 2})
                                 .permute({0, 1, 3, 5, 2, 4})  // [n, half, half, width, 2, 2]
                                 .flatten(3)
                                 .flatten(1, 2);
  return at::linear(squares, weights_.conv.weight.flatten(1), weights_.conv.bias);
}

// x [n, rows, hidden] -> the same shape.
at::Tensor VisionTower::Adapt(const at::Tensor& x) const {
  const Affine& norm = weights_.norm1;
  const at::Tensor y = at::gelu(at::layer_norm(at::linear(x, weights_.linear_proj), {x.size(-1)},
                                               norm.weight, norm.bias, kAdapterNormEps));
  const at::Tensor gate = at::silu(at::linear(y, weights_.gate_proj));
  return at::linear(gate * at::linear(y, weights_.dense_h_to_4h), weights_.dense_4h_to_h);
}

}  // namespace glimpse
