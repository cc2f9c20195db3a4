// The picture's way into the language model: a vision transformer, a 2x2 convolution and an
// adapter. One layer, with the norms behind what they belong to:
//
//   x += input_layernorm(dense(attention(qkv(x))))
//   x += post_attention_layernorm(fc2(gelu(fc1(x))))
//
// Both convolutions have a stride of their own size, so each is a matrix product over rows that
// hold what one window covers.
//
// Allocates through ATen's caching allocator alone. The serving thread alone calls.
#ifndef GLIMPSE_ENGINE_VISION_TOWER_H_
#define GLIMPSE_ENGINE_VISION_TOWER_H_

#include <ATen/core/Tensor.h>

#include "engine/config.h"
#include "engine/vision_operators.h"
#include "engine/weights.h"

namespace glimpse {

class VisionTower {
 public:
  // `own_kernels`: as vision_operators.h wants it.
  VisionTower(const VisionConfig& config, const VisionWeights& weights, bool own_kernels);

  // The three parts of the way, for n pictures. All tensors are contiguous and on the weights'
  // device; work is enqueued on the current stream and not waited for. A picture's rows do not
  // depend on its neighbours but for rounding.

  // pixels [n, image_size, image_size, 3] uint8 RGB -> x [n, 1 + patches, width] of the weights'
  // type: the class token and the patches, row by row.
  void Embed(const at::Tensor& pixels, at::Tensor x) const;
  // x through the layers [first, end).
  void Layers(int first, int end, at::Tensor x) const;
  // x behind the last layer -> out [n, Rows(), hidden]: the rows that stand for each picture in its
  // prompt, begin and end of image included.
  void Finish(const at::Tensor& x, at::Tensor out) const;

 private:
  at::Tensor Merge(const at::Tensor& x) const;
  at::Tensor Adapt(const at::Tensor& x) const;

  const VisionConfig config_;
  const VisionWeights weights_;
  const bool own_kernels_;
  const VisionAttention attention_;
};

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_VISION_TOWER_H_
