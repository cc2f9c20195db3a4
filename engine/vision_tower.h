// The picture's way into the language model: a vision transformer, a 2x2 convolution and an
// adapter. One layer, with the norms behind what they belong to:
//
//   x += input_layernorm(dense(attention(qkv(x))))
//   x += post_attention_layernorm(fc2(gelu(fc1(x))))
//
// Allocates through ATen's caching allocator alone. Immutable; the serving thread alone calls.
#ifndef GLIMPSE_ENGINE_VISION_TOWER_H_
#define GLIMPSE_ENGINE_VISION_TOWER_H_

#include <ATen/core/Tensor.h>

#include "engine/config.h"
#include "engine/weights.h"

namespace glimpse {

class VisionTower {
 public:
  VisionTower(const VisionConfig& config, const VisionWeights& weights);

  // pixels [1, image_size, image_size, 3] uint8 RGB on any device -> [Rows(), hidden], the rows
  // that stand for the picture in the prompt, begin and end of image included.
  at::Tensor Encode(const at::Tensor& pixels) const;

 private:
  at::Tensor Normalise(const at::Tensor& pixels) const;
  at::Tensor EmbedPatches(const at::Tensor& pixels) const;
  at::Tensor Attention(const at::Tensor& x, const VisionLayerWeights& weights) const;
  at::Tensor LayerNorm(const at::Tensor& x, const Affine& norm, double eps) const;
  at::Tensor Adapt(const at::Tensor& x) const;

  const VisionConfig config_;
  const VisionWeights weights_;
  at::Tensor mean_, std_;  // [1, 3, 1, 1] float32, of pixels from 0 to 1
};

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_VISION_TOWER_H_
