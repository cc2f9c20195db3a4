#include "engine/vision_tower.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/tensor.h>

namespace glimpse {
namespace {

constexpr double kAdapterNormEps = 1e-5;

at::Tensor Linear(const at::Tensor& x, const Affine& affine) {
  return at::linear(x, affine.weight, affine.bias);
}

at::Tensor Mlp(const at::Tensor& x, const VisionLayerWeights& weights) {
  return Linear(at::gelu(Linear(x, weights.fc1)), weights.fc2);
}

}  // namespace

VisionTower::VisionTower(const VisionConfig& config, const VisionWeights& weights)
    : config_(config), weights_(weights) {
  const at::TensorOptions f32 = at::TensorOptions().dtype(at::kFloat);
  const at::Device device = weights.positions.device();
  mean_ = at::tensor({0.48145466, 0.4578275, 0.40821073}, f32).view({1, 3, 1, 1}).to(device);
  std_ = at::tensor({0.26862954, 0.26130258, 0.27577711}, f32).view({1, 3, 1, 1}).to(device);
}

at::Tensor VisionTower::Encode(const at::Tensor& pixels) const {
  at::Tensor x = EmbedPatches(Normalise(pixels));
  for (const VisionLayerWeights& weights : weights_.layers) {
    x += LayerNorm(Attention(x, weights), weights.input_layernorm, config_.norm_eps);
    x += LayerNorm(Mlp(x, weights), weights.post_attention_layernorm, config_.norm_eps);
  }
  // Without the class token: [1, width, grid, grid].
  const at::Tensor grid =
      x.narrow(1, 1, config_.Patches()).transpose(1, 2).unflatten(2, {config_.Grid(), -1});
  const at::Tensor merged =
      at::conv2d(grid, weights_.conv.weight, weights_.conv.bias, /*stride=*/2);
  const at::Tensor rows = Adapt(merged.flatten(2).transpose(1, 2));
  return at::cat({weights_.boi, rows, weights_.eoi}, 1).div(config_.scaling_factor).squeeze(0);
}

// -> [1, 3, size, size] of the model's type.
at::Tensor VisionTower::Normalise(const at::Tensor& pixels) const {
  const at::Tensor planes = pixels.to(mean_.device()).permute({0, 3, 1, 2}).to(at::kFloat);
  return (planes / 255.0 - mean_).div_(std_).to(weights_.positions.scalar_type()).contiguous();
}

// -> [1, 1 + patches, width]: the class token and the patches, row by row.
at::Tensor VisionTower::EmbedPatches(const at::Tensor& pixels) const {
  const at::Tensor patches =
      at::conv2d(pixels, weights_.patches.weight, weights_.patches.bias, config_.patch_size);
  const at::Tensor rows = patches.flatten(2).transpose(1, 2);
  return at::cat({weights_.cls.unsqueeze(0), rows}, 1) + weights_.positions;
}

at::Tensor VisionTower::Attention(const at::Tensor& x, const VisionLayerWeights& weights) const {
  const at::Tensor qkv = Linear(x, weights.query_key_value)
                             .unflatten(-1, {3, config_.num_heads, config_.head_size})
                             .permute({2, 0, 3, 1, 4});  // [3, 1, heads, rows, head]
  const at::Tensor out = at::scaled_dot_product_attention(qkv[0], qkv[1], qkv[2]);
  return Linear(out.transpose(1, 2).flatten(2), weights.dense);
}

at::Tensor VisionTower::LayerNorm(const at::Tensor& x, const Affine& norm, double eps) const {
  return at::layer_norm(x, {x.size(-1)}, norm.weight, norm.bias, eps);
}

// x [1, rows, hidden] -> the same shape.
at::Tensor VisionTower::Adapt(const at::Tensor& x) const {
  const at::Tensor y =
      at::gelu(LayerNorm(at::linear(x, weights_.linear_proj), weights_.norm1, kAdapterNormEps));
  const at::Tensor gate = at::silu(at::linear(y, weights_.gate_proj));
  return at::linear(gate * at::linear(y, weights_.dense_h_to_4h), weights_.dense_4h_to_h);
}

}  // namespace glimpse
