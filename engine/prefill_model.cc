#include "engine/prefill_model.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>

#include "engine/tensor_data.h"
#include "preprocess/check.h"

namespace glimpse {
namespace {

using kernels::bf16;

}  // namespace

struct PrefillModel::Views {
  int num_tokens;
  at::Tensor x, normed, qkv, attended, activation;
};

PrefillModel::PrefillModel(const LanguageConfig& config, const LanguageWeights& weights,
                           const RopeTable& rope, int max_tokens)
    : config_(config), weights_(weights), rope_(rope) {
  const at::TensorOptions options = weights.word_embeddings.options();
  const int64_t tokens = max_tokens;
  x_ = at::empty({tokens, config.hidden_size}, options);
  normed_ = at::empty({tokens, config.hidden_size}, options);
  qkv_ = at::empty({tokens, config.QkvSize()}, options);
  attended_ = at::zeros({tokens, config.QuerySize()}, options);  // attention leaves padding out
  activation_ = at::empty({tokens, config.ffn_hidden_size}, options);
  attention_workspace_ =
      at::zeros({kernels::PrefillAttentionWorkspaceBytes()}, options.dtype(at::kByte));
}

void PrefillModel::Layers(const PrefillInputs& inputs, int num_tokens, const KvCache& cache,
                          cudaStream_t stream) {
  GLIMPSE_CHECK(num_tokens <= x_.size(0), "more tokens than the buffers hold");
  const auto first = [&](const at::Tensor& buffer) { return buffer.narrow(0, 0, num_tokens); };
  Views views = {num_tokens,  first(x_),        first(normed_),
                 first(qkv_), first(attended_), first(activation_)};
  Launch(kernels::Embed{inputs.tokens, inputs.pictures, Data<bf16>(weights_.word_embeddings),
                        Data<bf16>(x_), num_tokens, config_.hidden_size},
         stream);
  for (int i = 0; i < config_.num_layers; ++i) {
    const LanguageLayerWeights& weights = weights_.layers[i];
    Norm(views, weights.input_layernorm, stream);
    at::mm_out(views.qkv, views.normed, weights.query_key_value.weight.t());
    Attention(i, inputs, views, cache, stream);
    if (i + 1 == config_.num_layers) return;
    views.x.addmm_(views.attended, weights.dense.t());

    Norm(views, weights.post_attention_layernorm, stream);
    Launch(kernels::PrefillGated{Data<bf16>(normed_), Data<bf16>(weights.dense_h_to_4h),
                                 Data<bf16>(activation_), num_tokens, config_.hidden_size,
                                 config_.ffn_hidden_size},
           stream);
    views.x.addmm_(views.activation, weights.dense_4h_to_h.t());
  }
}

void PrefillModel::Norm(const Views& views, const at::Tensor& weight, cudaStream_t stream) const {
  Launch(kernels::RmsNorm{Data<bf16>(x_), Data<bf16>(weight), Data<bf16>(normed_), views.num_tokens,
                          config_.hidden_size, config_.norm_eps},
         stream);
}

void PrefillModel::Attention(int layer, const PrefillInputs& inputs, const Views& views,
                             const KvCache& cache, cudaStream_t stream) const {
  const Affine& affine = weights_.layers[layer].query_key_value;
  kernels::RopeAndCache rope;
  rope.qkv = Data<bf16>(qkv_);
  rope.bias = affine.bias.defined() ? Data<bf16>(affine.bias) : nullptr;
  rope.cos = Data<float>(rope_.cos);
  rope.sin = Data<float>(rope_.sin);
  rope.positions = inputs.positions;
  rope.cache_rows = inputs.cache_rows;
  rope.keys = Data<bf16>(cache.keys(layer));
  rope.values = Data<bf16>(cache.values(layer));
  rope.num_tokens = views.num_tokens;
  rope.heads = config_.num_heads;
  rope.kv_heads = config_.num_kv_heads;
  Launch(rope, stream);

  kernels::PrefillAttention attention;
  attention.q = rope.qkv;
  attention.q_stride = config_.QkvSize();
  attention.keys = rope.keys;
  attention.values = rope.values;
  attention.cache_rows = cache.keys(layer).size(0);
  attention.block_table = inputs.block_table;
  attention.first_tokens = inputs.first_tokens;
  attention.kv_lengths = inputs.kv_lengths;
  attention.out = Data<bf16>(attended_);
  attention.num_tokens = views.num_tokens;
  attention.num_spans = inputs.num_spans;
  attention.heads = config_.num_heads;
  attention.kv_heads = config_.num_kv_heads;
  attention.max_blocks = inputs.max_blocks;
  attention.workspace = attention_workspace_.data_ptr();
  Launch(attention, stream);
}

}  // namespace glimpse
