// What the vision tower needs beside matrix products: with `own_kernels`, the project's own
// wherever the sizes suit them; else ATen. HasKernels (device.h) of the tensors must hold for own
// kernels. All work goes to the current stream; nothing is waited for.
#ifndef GLIMPSE_ENGINE_VISION_OPERATORS_H_
#define GLIMPSE_ENGINE_VISION_OPERATORS_H_

#include <ATen/core/Tensor.h>

#include "engine/weights.h"

namespace glimpse {

// Pixels as the patch convolution's input, normalised: [n, size, size, 3] uint8 RGB ->
// [n, (size / patch)^2, 3 patch patch] of `type`, on the pixels' device.
at::Tensor PatchRows(const at::Tensor& pixels, int64_t patch, at::ScalarType type,
                     bool own_kernels);

// Full attention within each picture. One call at a time: they share a workspace.
class VisionAttention {
 public:
  // `options`: type and device of what it will be called with.
  VisionAttention(int64_t heads, int64_t head_size, const at::TensorOptions& options,
                  bool own_kernels);

  // qkv [n, rows, 3 heads head] -> [n, rows, heads head].
  at::Tensor operator()(const at::Tensor& qkv) const;

 private:
  const int64_t heads_, head_size_;
  at::Tensor workspace_;  // defined where the project's own kernel does the work
};

// gelu(x weight^T + bias), x [n, rows, in] -> [n, rows, out].
at::Tensor LinearGelu(const at::Tensor& x, const Affine& affine, bool own_kernels);

// x += layer_norm(y), x and y [n, rows, width].
void AddLayerNorm(const at::Tensor& y, const Affine& norm, double eps, bool own_kernels,
                  at::Tensor* x);

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_VISION_OPERATORS_H_
