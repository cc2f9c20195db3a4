// The language model over many tokens at once, packed spans of several sequences: the library's
// matrix products, our own where SwiGLU follows, and the project's other kernels between them.
//
//   x += dense(attention(rope(qkv(rmsnorm(x)))))
//   x += dense_4h_to_h(silu(a) * b), [a, b] = dense_h_to_4h(rmsnorm(x))
//
// It ends with the last layer's attention, which has the keys and values of all tokens written.
// What is left of that layer matters only for the tokens whose logits are wanted, one or none of a
// sequence: DecodeModel::FinishPrefill.
//
// Takes all its memory at construction and reads nothing but device memory at fixed addresses, so a
// captured graph serves every step of that many tokens. Bfloat16 on Hopper (what
// DecodeModel::Supports says). The serving thread alone calls.
#ifndef GLIMPSE_ENGINE_PREFILL_MODEL_H_
#define GLIMPSE_ENGINE_PREFILL_MODEL_H_

#include <ATen/core/Tensor.h>
#include <cuda_runtime_api.h>

#include "engine/config.h"
#include "engine/kernels/kernels.h"
#include "engine/kv_cache.h"
#include "engine/rope_table.h"
#include "engine/weights.h"

namespace glimpse {

// What a step reads, on the device. Tokens behind the spans' are padding: any id, any position, a
// cache row that nobody reads. Spans behind the step's own are empty.
struct PrefillInputs {
  const int32_t* tokens = nullptr;                 // [tokens] ids, or -1 - k for row k of a picture
  const kernels::bf16* const* pictures = nullptr;  // [tokens] where the id is negative
  const int32_t* positions = nullptr;              // [tokens] rotary
  const int32_t* cache_rows = nullptr;             // [tokens] take the tokens' keys and values
  const int32_t* block_table = nullptr;            // [spans, max_blocks]
  const int32_t* first_tokens = nullptr;           // [spans + 1]
  const int32_t* kv_lengths = nullptr;             // [spans] with the span's own tokens
  int num_spans = 0;
  int max_blocks = 0;
};

// Of each token, [tokens, ..]: what stands behind the last layer's attention.
struct PrefillRows {
  at::Tensor x;         // [tokens, hidden] the layer's input
  at::Tensor attended;  // [tokens, heads 128]
};

class PrefillModel {
 public:
  PrefillModel(const LanguageConfig& config, const LanguageWeights& weights, const RopeTable& rope,
               int max_tokens);

  // The step's keys and values go to `cache`, the rest to rows(). `num_tokens` with padding, up to
  // max_tokens. `stream` is libtorch's current one.
  void Layers(const PrefillInputs& inputs, int num_tokens, const KvCache& cache,
              cudaStream_t stream);

  PrefillRows rows() const { return {x_, attended_}; }  // of max_tokens

 private:
  struct Views;  // the first num_tokens rows of the buffers

  void Norm(const Views& views, const at::Tensor& weight, cudaStream_t stream) const;
  void Attention(int layer, const PrefillInputs& inputs, const Views& views, const KvCache& cache,
                 cudaStream_t stream) const;

  const LanguageConfig config_;
  const LanguageWeights weights_;
  const RopeTable rope_;
  at::Tensor x_, normed_;  // [max_tokens, hidden]
  at::Tensor qkv_;         // [max_tokens, (heads + 2 kv_heads) 128]
  at::Tensor attended_;    // [max_tokens, heads 128]
  at::Tensor activation_;  // [max_tokens, ffn]
  at::Tensor attention_workspace_;
};

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_PREFILL_MODEL_H_
