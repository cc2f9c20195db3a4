#include "engine/decode_model.h"

#include <ATen/ops/zeros.h>

#include <algorithm>
#include <iterator>

#include "engine/tensor_data.h"
#include "preprocess/check.h"

namespace glimpse {
namespace {

using kernels::bf16;

constexpr int kKernelRows[] = {8, 16, 32, 64};

// Of the query heads that share a KV head; prefill's attention wants a power of two.
bool TakesGroup(int group) { return group <= kernels::kMaxGroup && (group & (group - 1)) == 0; }

const bf16* BiasOf(const Affine& affine) {
  return affine.bias.defined() ? Data<const bf16>(affine.bias) : nullptr;
}

}  // namespace

SamplerState::SamplerState(int num_slots, int vocabulary, const at::TensorOptions& options) {
  const at::TensorOptions ints = options.dtype(at::kInt), bytes = options.dtype(at::kByte);
  seen = at::zeros({num_slots, kernels::SeenWords(vocabulary)}, ints);
  last_tokens = at::zeros({num_slots}, ints);
  results = at::zeros({kMaxDecodeRows, int64_t{sizeof(kernels::SampleResult)}}, bytes);
}

bool DecodeModel::Supports(const LanguageConfig& config, at::ScalarType type) {
  const int hidden = config.hidden_size, ffn = config.ffn_hidden_size;
  return type == at::kBFloat16 && config.head_size == kernels::kHeadSize &&
         config.rotary_size == kernels::kHeadSize / 2 &&
         TakesGroup(config.num_heads / config.num_kv_heads) &&
         config.vocabulary_size >= kMinIndices &&
         config.vocabulary_size <= kernels::kMaxVocabulary && config.max_context >= kMinIndices &&
         kernels::TakesPlain({config.QkvSize(), hidden}) &&
         kernels::TakesResidual({hidden, config.QuerySize()}) &&
         kernels::TakesResidual({hidden, ffn}) && hidden % 64 == 0 &&
         hidden <= kernels::kMaxNormWidth;
}

int DecodeModel::KernelRows(int rows) {
  const auto* found = std::lower_bound(std::begin(kKernelRows), std::end(kKernelRows), rows);
  GLIMPSE_CHECK(found != std::end(kKernelRows), "a decode step has at most 64 rows");
  return *found;
}

DecodeModel::DecodeModel(const LanguageConfig& config, const LanguageWeights& weights,
                         const RopeTable& rope, const KvCache& cache, SamplerState* sampler)
    : config_(config), weights_(weights), rope_(rope), cache_(cache), sampler_(sampler) {
  const at::TensorOptions options = weights.word_embeddings.options();
  const at::TensorOptions floats = options.dtype(at::kFloat);
  const int64_t rows = kMaxDecodeRows, hidden = config.hidden_size;
  residual_ = at::zeros({rows, hidden}, floats);
  x_ = at::zeros({rows, hidden}, options);
  sum_squares_ = at::zeros({hidden / kernels::kLinearTile, rows}, floats);
  q_ = at::zeros({rows, config.QuerySize()}, options);
  // Rows that attention leaves out are multiplied all the same, and must be finite.
  attended_ = at::zeros({rows, config.QuerySize()}, options);
  activation_ = at::zeros({rows, config.ffn_hidden_size}, options);
  logits_ = at::zeros({rows, config.vocabulary_size}, floats);
  attention_workspace_ =
      at::zeros({kernels::DecodeAttentionWorkspaceBytes()}, options.dtype(at::kByte));
  for (int kernel_rows : kKernelRows) products_.emplace(kernel_rows, MakeProducts(kernel_rows));
}

DecodeModel::Products DecodeModel::MakeProducts(int kernel_rows) const {
  const int hidden = config_.hidden_size, ffn = config_.ffn_hidden_size;
  const kernels::RowStatistics statistics = {
      Data<float>(sum_squares_), hidden / kernels::kLinearTile, hidden, config_.norm_eps};
  const auto linear = [&](const at::Tensor& w, const at::Tensor& x,
                          decltype(kernels::MakeLinear)* make = kernels::MakeLinear) {
    const kernels::MatrixShape shape = {static_cast<int>(w.size(0)), static_cast<int>(w.size(1))};
    return make(Data<bf16>(w), shape, Data<bf16>(x), kernel_rows);
  };
  Products products;
  for (const LanguageLayerWeights& weights : weights_.layers) {
    Layer layer;
    layer.query_key_value = linear(weights.query_key_value.weight, x_);
    layer.query_key_value.statistics = statistics;
    layer.dense = linear(weights.dense, attended_);
    layer.dense_h_to_4h = kernels::MakeGatedLinear(Data<bf16>(weights.dense_h_to_4h), {ffn, hidden},
                                                   Data<bf16>(x_), kernel_rows);
    layer.dense_h_to_4h.statistics = statistics;
    layer.dense_4h_to_h = linear(weights.dense_4h_to_h, activation_);
    products.layers.push_back(layer);
  }
  products.output_layer = linear(weights_.output_layer, x_, kernels::MakeHeadLinear);
  products.output_layer.statistics = statistics;
  return products;
}

kernels::StartRows DecodeModel::Start(int kernel_rows) const {
  kernels::StartRows start;
  start.residual = Data<float>(residual_);
  start.x = Data<bf16>(x_);
  start.sum_squares = Data<float>(sum_squares_);
  start.rows = kernel_rows;
  start.hidden = config_.hidden_size;
  return start;
}

void DecodeModel::Layers(const DecodeInputs& inputs, int rows, cudaStream_t stream) const {
  const int kernel_rows = KernelRows(rows);
  const Products& products = products_.at(kernel_rows);
  kernels::StartRows start = Start(kernel_rows);
  start.table = Data<bf16>(weights_.word_embeddings);
  start.indices = inputs.tokens;
  start.params = inputs.sampling;
  start.last_tokens = Data<int32_t>(sampler_->last_tokens);
  start.weight = Data<bf16>(weights_.layers[0].input_layernorm);
  Launch(start, stream);

  for (int i = 0; i < config_.num_layers; ++i) {
    const Layer& layer = products.layers[i];
    Launch(layer.query_key_value, Qkv(i, inputs), stream);
    Attention(i, inputs, rows, stream);
    const bool last = i + 1 == config_.num_layers;
    BehindAttention(layer, weights_.layers[i].post_attention_layernorm,
                    last ? weights_.final_layernorm : weights_.layers[i + 1].input_layernorm,
                    stream);
  }
}

kernels::QkvFinish DecodeModel::Qkv(int layer, const DecodeInputs& inputs) const {
  return {BiasOf(weights_.layers[layer].query_key_value),
          Data<float>(rope_.cos),
          Data<float>(rope_.sin),
          inputs.positions,
          inputs.cache_rows,
          Data<bf16>(q_),
          Data<bf16>(cache_.keys(layer)),
          Data<bf16>(cache_.values(layer)),
          config_.num_heads,
          config_.num_kv_heads};
}

void DecodeModel::BehindAttention(const Layer& layer, const at::Tensor& norm,
                                  const at::Tensor& next_norm, cudaStream_t stream) const {
  kernels::ResidualFinish residual = {Data<float>(residual_), Data<bf16>(norm), Data<bf16>(x_),
                                      Data<float>(sum_squares_), config_.hidden_size};
  Launch(layer.dense, residual, stream);
  Launch(layer.dense_h_to_4h,
         kernels::SwigluFinish{Data<bf16>(activation_), config_.ffn_hidden_size}, stream);
  residual.weight = Data<bf16>(next_norm);
  Launch(layer.dense_4h_to_h, residual, stream);
}

void DecodeModel::Attention(int layer, const DecodeInputs& inputs, int rows,
                            cudaStream_t stream) const {
  kernels::DecodeAttention attention;
  attention.q = Data<bf16>(q_);
  attention.keys = Data<bf16>(cache_.keys(layer));
  attention.values = Data<bf16>(cache_.values(layer));
  attention.block_table = inputs.block_table;
  attention.lengths = inputs.lengths;
  attention.out = Data<bf16>(attended_);
  attention.rows = rows;
  attention.kv_heads = config_.num_kv_heads;
  attention.group = config_.num_heads / config_.num_kv_heads;
  attention.max_blocks = inputs.max_blocks;
  attention.workspace = attention_workspace_.data_ptr();
  Launch(attention, stream);
}

void DecodeModel::FinishPrefill(const PrefillRows& from, const int32_t* indices, int rows,
                                cudaStream_t stream) const {
  const int kernel_rows = KernelRows(rows);
  kernels::StartRows start = Start(kernel_rows);
  start.table = Data<bf16>(from.x);
  start.indices = indices;
  start.weight = Data<bf16>(weights_.final_layernorm);  // of no use here, as what it makes
  Launch(start, stream);
  Launch(kernels::Embed{indices, /*pictures=*/nullptr, Data<bf16>(from.attended),
                        Data<bf16>(attended_), kernel_rows, config_.QuerySize()},
         stream);
  BehindAttention(products_.at(kernel_rows).layers.back(),
                  weights_.layers.back().post_attention_layernorm, weights_.final_layernorm,
                  stream);
}

void DecodeModel::Head(int rows, cudaStream_t stream) const {
  Launch(products_.at(KernelRows(rows)).output_layer,
         kernels::LogitsFinish{Data<float>(logits_), config_.vocabulary_size}, stream);
}

void DecodeModel::Sample(const kernels::SampleRow* sampling, int rows, cudaStream_t stream) const {
  kernels::Sample sample;
  sample.logits = Data<float>(logits_);
  sample.params = sampling;
  sample.seen = Data<uint32_t>(sampler_->seen);
  sample.last_tokens = Data<int32_t>(sampler_->last_tokens);
  sample.results = Data<kernels::SampleResult>(sampler_->results);
  sample.rows = rows;
  sample.vocabulary = config_.vocabulary_size;
  Launch(sample, stream);
}

}  // namespace glimpse
