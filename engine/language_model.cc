#include "engine/language_model.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/stack.h>

#include <optional>

#include "engine/rope_table.h"
#include "preprocess/check.h"

namespace glimpse {
namespace {

at::Tensor Linear(const at::Tensor& x, const Affine& affine) {
  return affine.bias.defined() ? at::linear(x, affine.weight, affine.bias)
                               : at::linear(x, affine.weight);
}

at::Tensor Mlp(const at::Tensor& x, const LanguageLayerWeights& weights) {
  const std::vector<at::Tensor> halves = at::linear(x, weights.dense_h_to_4h).chunk(2, -1);
  return at::linear(at::silu(halves[0]).mul_(halves[1]), weights.dense_4h_to_h);
}

}  // namespace

LanguageModel::LanguageModel(const LanguageConfig& config, const LanguageWeights& weights)
    : config_(config), weights_(weights) {
  const at::TensorOptions options = weights.word_embeddings.options();
  const RopeTable rope(config, options);
  cos_ = rope.cos.to(options);
  sin_ = rope.sin.to(options);
}

at::Tensor LanguageModel::Forward(const StepInputs& step, const std::vector<at::Tensor>& pictures,
                                  KvCache* cache) const {
  at::Tensor x = Embed(step, pictures);
  const Rope rope = {cos_.index_select(0, step.positions).unsqueeze(1),
                     sin_.index_select(0, step.positions).unsqueeze(1)};
  const std::vector<Reach> reaches = Reaches(step, *cache);
  for (int layer = 0; layer < config_.num_layers; ++layer) {
    const LanguageLayerWeights& weights = weights_.layers[layer];
    x += Attention(layer, Norm(x, weights.input_layernorm), rope, step, reaches, cache);
    x += Mlp(Norm(x, weights.post_attention_layernorm), weights);
  }
  return x;
}

at::Tensor LanguageModel::Logits(const at::Tensor& hidden) const {
  return at::linear(Norm(hidden, weights_.final_layernorm), weights_.output_layer).to(at::kFloat);
}

at::Tensor LanguageModel::Embed(const StepInputs& step,
                                const std::vector<at::Tensor>& pictures) const {
  at::Tensor x = weights_.word_embeddings.index_select(0, step.tokens);
  for (const ImageSpan& span : step.images) {
    const at::Tensor& picture = pictures[span.slot];
    GLIMPSE_CHECK(picture.defined(), "image rows before their vision step");
    x.narrow(0, span.first_token, span.num_rows)
        .copy_(picture.narrow(0, span.first_row, span.num_rows));
  }
  return x;
}

// A decode step has one entry for all its rows, a prefill step one a span.
std::vector<LanguageModel::Reach> LanguageModel::Reaches(const StepInputs& step,
                                                         const KvCache& cache) const {
  if (step.spans.empty()) {
    // A padding row looks at the zero row, once: a softmax over nothing would be NaN.
    const at::Tensor lengths = step.lengths.clamp_min(1).view({-1, 1, 1, 1});
    const at::Tensor index = at::arange(step.longest, step.lengths.options());
    return {{cache.Rows(step.block_table, step.lengths, step.longest), index < lengths}};
  }
  std::vector<Reach> reaches;
  for (const PrefillSpan& span : step.spans) {
    const int64_t length = span.kv_length + span.num_tokens;
    Reach reach;
    reach.rows = cache.Rows(step.block_table.narrow(0, span.row, 1),
                            step.lengths.narrow(0, span.row, 1), length);
    if (span.kv_length > 0) {
      const at::Tensor index = at::arange(length, step.lengths.options());
      reach.mask = index <= index.narrow(0, span.kv_length, span.num_tokens).unsqueeze(1);
    }
    reaches.push_back(std::move(reach));
  }
  return reaches;
}

// [rows, hidden] -> the same; the mean in float32 whatever the type.
at::Tensor LanguageModel::Norm(const at::Tensor& x, const at::Tensor& weight) const {
  const at::Tensor x32 = x.to(at::kFloat);
  const at::Tensor mean = x32.square().mean(-1, /*keepdim=*/true);
  return (x32 * at::rsqrt(mean + config_.norm_eps)).to(x.scalar_type()) * weight;
}

// x [tokens, heads, head]: turns the pairs (0, 1), (2, 3), ... of the first rotary_size channels.
at::Tensor LanguageModel::Rotate(const at::Tensor& x, const Rope& rope) const {
  const int64_t turned = config_.rotary_size;
  const at::Tensor pairs = x.narrow(-1, 0, turned).unflatten(-1, {turned / 2, 2});
  const at::Tensor even = pairs.select(-1, 0), odd = pairs.select(-1, 1);
  const at::Tensor rotated =
      at::stack({even * rope.cos - odd * rope.sin, odd * rope.cos + even * rope.sin}, -1);
  return at::cat({rotated.flatten(-2), x.narrow(-1, turned, config_.head_size - turned)}, -1);
}

at::Tensor LanguageModel::Attention(int layer, const at::Tensor& x, const Rope& rope,
                                    const StepInputs& step, const std::vector<Reach>& reaches,
                                    KvCache* cache) const {
  const int64_t heads = config_.num_heads, kv_heads = config_.num_kv_heads;
  const LanguageLayerWeights& weights = weights_.layers[layer];
  const at::Tensor qkv =
      Linear(x, weights.query_key_value).unflatten(-1, {heads + 2 * kv_heads, config_.head_size});
  const at::Tensor qk = Rotate(qkv.narrow(1, 0, heads + kv_heads), rope);
  const at::Tensor q = qk.narrow(1, 0, heads);
  cache->Write(layer, step.write_rows, qk.narrow(1, heads, kv_heads),
               qkv.narrow(1, heads + kv_heads, kv_heads));

  if (step.spans.empty()) {
    return at::linear(DecodeAttention(layer, q, reaches[0], *cache), weights.dense);
  }
  std::vector<at::Tensor> outputs;
  for (size_t i = 0; i < step.spans.size(); ++i) {
    const PrefillSpan& span = step.spans[i];
    outputs.push_back(PrefillAttention(layer, q.narrow(0, span.first_token, span.num_tokens),
                                       reaches[i], *cache));
  }
  return at::linear(at::cat(outputs, 0), weights.dense);
}

// q [rows, heads, head] -> [rows, heads head]. The query heads of a KV head stand where the queries
// of one head usually do, so that no key or value is copied for each of them.
at::Tensor LanguageModel::DecodeAttention(int layer, const at::Tensor& q, const Reach& reach,
                                          const KvCache& cache) const {
  const int64_t group = config_.num_heads / config_.num_kv_heads;
  const at::Tensor out = at::scaled_dot_product_attention(
      q.unflatten(1, {config_.num_kv_heads, group}), cache.Keys(layer, reach.rows),
      cache.Values(layer, reach.rows), reach.mask);
  return out.flatten(1);
}

// q [tokens, heads, head] of one sequence -> [tokens, heads head].
at::Tensor LanguageModel::PrefillAttention(int layer, const at::Tensor& q, const Reach& reach,
                                           const KvCache& cache) const {
  const int64_t group = config_.num_heads / config_.num_kv_heads;
  const at::Tensor k = cache.Keys(layer, reach.rows).repeat_interleave(group, 1);
  const at::Tensor v = cache.Values(layer, reach.rows).repeat_interleave(group, 1);
  const bool causal = !reach.mask.defined();
  const std::optional<at::Tensor> mask = causal ? std::nullopt : std::optional(reach.mask);
  const at::Tensor out = at::scaled_dot_product_attention(q.transpose(0, 1).unsqueeze(0), k, v,
                                                          mask, /*dropout_p=*/0.0, causal);
  return out.squeeze(0).transpose(0, 1).flatten(1);
}

}  // namespace glimpse
