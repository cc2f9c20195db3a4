// The language model: one forward for prefill and decode, over packed tokens of several sequences.
//
//   x += dense(attention(rope(qkv(rmsnorm(x)))))
//   x += dense_4h_to_h(silu(a) * b), [a, b] = dense_h_to_4h(rmsnorm(x))
//
// It allocates through ATen's caching allocator alone, reads nothing back from the device and
// branches on nothing that lies there. Immutable; the serving thread alone calls.
#ifndef GLIMPSE_ENGINE_LANGUAGE_MODEL_H_
#define GLIMPSE_ENGINE_LANGUAGE_MODEL_H_

#include <ATen/core/Tensor.h>

#include <vector>

#include "engine/config.h"
#include "engine/kv_cache.h"
#include "engine/step_buffers.h"
#include "engine/weights.h"

namespace glimpse {

class LanguageModel {
 public:
  LanguageModel(const LanguageConfig& config, const LanguageWeights& weights);

  // Writes the step's keys and values into `cache` and returns the last layer's output, before the
  // final norm: [tokens, hidden]. `pictures`: by slot, [image rows, hidden], defined for each slot
  // that the step's image spans name.
  at::Tensor Forward(const StepInputs& step, const std::vector<at::Tensor>& pictures,
                     KvCache* cache) const;

  // hidden [rows, hidden] -> [rows, vocabulary] float32.
  at::Tensor Logits(const at::Tensor& hidden) const;

 private:
  // What all layers share of a step.
  struct Rope {
    at::Tensor cos, sin;  // [tokens, 1, rotary / 2]
  };
  struct Reach {
    at::Tensor rows;  // [rows, length] int64: cache rows that a row of the step looks at
    at::Tensor mask;  // true where a query may look; undefined: causal from the first token
  };

  at::Tensor Embed(const StepInputs& step, const std::vector<at::Tensor>& pictures) const;
  std::vector<Reach> Reaches(const StepInputs& step, const KvCache& cache) const;
  at::Tensor Norm(const at::Tensor& x, const at::Tensor& weight) const;
  at::Tensor Rotate(const at::Tensor& x, const Rope& rope) const;
  at::Tensor Attention(int layer, const at::Tensor& x, const Rope& rope, const StepInputs& step,
                       const std::vector<Reach>& reaches, KvCache* cache) const;
  at::Tensor DecodeAttention(int layer, const at::Tensor& q, const Reach& reach,
                             const KvCache& cache) const;
  at::Tensor PrefillAttention(int layer, const at::Tensor& q, const Reach& reach,
                              const KvCache& cache) const;

  const LanguageConfig config_;
  const LanguageWeights weights_;
  at::Tensor cos_, sin_;  // [positions, rotary / 2] of the model's type, as the reference's
};

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_LANGUAGE_MODEL_H_
