// One decode step on the project's own kernels: a token a row, from ids to sampled ids.
//
//   start rows -> 40 x (qkv, attention, dense, h_to_4h, 4h_to_h) -> output layer -> sample
//
// The kernels are joined by programmatic dependent launch and read nothing but device memory at
// fixed addresses, so a captured graph of the calls serves every step of that many rows. Rows are
// computed in groups of 8, 16, 32 or 64 (KernelRows); those behind the step's own are padding.
// Bfloat16 on Hopper. Immutable after construction; the serving thread alone calls.
#ifndef GLIMPSE_ENGINE_DECODE_MODEL_H_
#define GLIMPSE_ENGINE_DECODE_MODEL_H_

#include <ATen/core/Tensor.h>
#include <cuda_runtime_api.h>

#include <map>
#include <vector>

#include "engine/config.h"
#include "engine/kernels/decode_linear.h"
#include "engine/kernels/kernels.h"
#include "engine/kv_cache.h"
#include "engine/prefill_model.h"
#include "engine/rope_table.h"
#include "engine/weights.h"

namespace glimpse {

constexpr int kMaxDecodeRows = 64;
constexpr int kMinIndices = 16;  // ids and positions that a model has at least

// What a step reads, on the device; padding rows have slot -1, length 0 and a cache row that
// nobody reads. Arrays of kMaxDecodeRows entries.
struct DecodeInputs {
  const int32_t* tokens = nullptr;       // ids, or kernels::kFromSlot
  const int32_t* positions = nullptr;    // rotary
  const int32_t* cache_rows = nullptr;   // take the tokens' keys and values
  const int32_t* lengths = nullptr;      // tokens of the sequence, this one included
  const int32_t* block_table = nullptr;  // [rows, max_blocks]
  const kernels::SampleRow* sampling = nullptr;
  int max_blocks = 0;
};

// What sampling keeps from step to step, and gives.
struct SamplerState {
  SamplerState(int num_slots, int vocabulary, const at::TensorOptions& options);

  at::Tensor seen;         // [slots, words] int32: a bit per id of the slot's prompt and answer
  at::Tensor last_tokens;  // [slots] int32
  at::Tensor results;      // [kMaxDecodeRows] kernels::SampleResult, as bytes
};

class DecodeModel {
 public:
  // True if the sizes and the type suit the kernels on the current device, which is a GPU.
  static bool Supports(const LanguageConfig& config, at::ScalarType type);

  // The weights' and the cache's memory stays where it is.
  DecodeModel(const LanguageConfig& config, const LanguageWeights& weights, const RopeTable& rope,
              const KvCache& cache, SamplerState* sampler);

  static int KernelRows(int rows);  // the smallest of 8, 16, 32, 64 that holds them

  // From ids to what the output layer reads.
  void Layers(const DecodeInputs& inputs, int rows, cudaStream_t stream) const;
  // What a prefill leaves to be done for those of its tokens whose logits are wanted, few as they
  // are: the last layer behind its attention. indices [KernelRows(rows)] of the tokens.
  void FinishPrefill(const PrefillRows& from, const int32_t* indices, int rows,
                     cudaStream_t stream) const;
  // To logits(), rows [0, rows).
  void Head(int rows, cudaStream_t stream) const;
  // From logits() to the sampler's results.
  void Sample(const kernels::SampleRow* sampling, int rows, cudaStream_t stream) const;

  const at::Tensor& logits() const { return logits_; }  // [kMaxDecodeRows, vocabulary] float32

 private:
  struct Layer {
    kernels::LinearOperands query_key_value, dense, dense_h_to_4h, dense_4h_to_h;
  };
  struct Products {  // of one number of kernel rows
    std::vector<Layer> layers;
    kernels::LinearOperands output_layer;
  };

  Products MakeProducts(int kernel_rows) const;
  kernels::StartRows Start(int kernel_rows) const;
  kernels::QkvFinish Qkv(int layer, const DecodeInputs& inputs) const;
  void Attention(int layer, const DecodeInputs& inputs, int rows, cudaStream_t stream) const;
  void BehindAttention(const Layer& layer, const at::Tensor& norm, const at::Tensor& next_norm,
                       cudaStream_t stream) const;

  const LanguageConfig config_;
  const LanguageWeights weights_;
  const RopeTable rope_;
  const KvCache& cache_;
  SamplerState* const sampler_;
  at::Tensor residual_;      // [kMaxDecodeRows, hidden] float32
  at::Tensor x_;             // [kMaxDecodeRows, hidden]: the residual times the next norm's weight
  at::Tensor sum_squares_;   // [hidden / 32, kMaxDecodeRows] float32
  at::Tensor q_, attended_;  // [kMaxDecodeRows, heads 128]
  at::Tensor activation_;    // [kMaxDecodeRows, ffn]
  at::Tensor logits_;
  at::Tensor attention_workspace_;
  std::map<int, Products> products_;  // by kernel rows
};

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_DECODE_MODEL_H_
