#include "engine/weights.h"

#include <ATen/Context.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/randn.h>

#include <cmath>
#include <string>
#include <utility>

#include "preprocess/check.h"

namespace glimpse {
namespace {

at::ScalarType TypeOf(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return at::kFloat;
    case DType::kBFloat16:
      return at::kBFloat16;
    case DType::kFloat16:
      return at::kHalf;
  }
  GLIMPSE_CHECK(false, "an unknown DType");
}

// Gives each tensor of a name once, and counts.
class Source {
 public:
  using Make = std::function<at::Tensor(const TensorSpec& spec)>;

  Source(const ModelConfig& config, Make make, const LoadProgress& progress, int64_t element_size)
      : make_(std::move(make)), progress_(progress) {
    for (TensorSpec& spec : ExpectedTensors(config)) {
      total_ += NumElements(spec.shape) * element_size;
      specs_.emplace(spec.name, std::move(spec));
    }
  }

  at::Tensor Take(const std::string& name) {
    auto spec = specs_.find(name);
    GLIMPSE_CHECK(spec != specs_.end(), name.c_str());
    at::Tensor tensor = make_(spec->second);
    parameters_ += tensor.numel();
    bytes_ += static_cast<int64_t>(tensor.nbytes());
    if (progress_) progress_(bytes_, total_);
    return tensor;
  }

  Affine TakeAffine(const std::string& name, bool bias = true) {
    return {Take(name + ".weight"), bias ? Take(name + ".bias") : at::Tensor()};
  }

  int64_t parameters() const { return parameters_; }
  int64_t bytes() const { return bytes_; }

 private:
  const Make make_;
  const LoadProgress& progress_;
  std::map<std::string, TensorSpec> specs_;
  int64_t total_ = 0;
  int64_t parameters_ = 0;
  int64_t bytes_ = 0;
};

LanguageLayerWeights TakeLanguageLayer(const LanguageConfig& config, int layer, Source* source) {
  const std::string prefix = "transformer.encoder.layers." + std::to_string(layer) + ".";
  LanguageLayerWeights weights;
  weights.input_layernorm = source->Take(prefix + "input_layernorm.weight");
  weights.query_key_value =
      source->TakeAffine(prefix + "self_attention.query_key_value", config.qkv_bias);
  weights.dense = source->Take(prefix + "self_attention.dense.weight");
  weights.post_attention_layernorm = source->Take(prefix + "post_attention_layernorm.weight");
  weights.dense_h_to_4h = source->Take(prefix + "mlp.dense_h_to_4h.weight");
  weights.dense_4h_to_h = source->Take(prefix + "mlp.dense_4h_to_h.weight");
  return weights;
}

LanguageWeights TakeLanguage(const LanguageConfig& config, Source* source) {
  LanguageWeights weights;
  weights.word_embeddings = source->Take("transformer.embedding.word_embeddings.weight");
  for (int layer = 0; layer < config.num_layers; ++layer) {
    weights.layers.push_back(TakeLanguageLayer(config, layer, source));
  }
  weights.final_layernorm = source->Take("transformer.encoder.final_layernorm.weight");
  weights.output_layer = source->Take("transformer.output_layer.weight");
  return weights;
}

VisionLayerWeights TakeVisionLayer(int layer, Source* source) {
  const std::string prefix = "transformer.vision.transformer.layers." + std::to_string(layer) + ".";
  VisionLayerWeights weights;
  weights.query_key_value = source->TakeAffine(prefix + "attention.query_key_value");
  weights.dense = source->TakeAffine(prefix + "attention.dense");
  weights.input_layernorm = source->TakeAffine(prefix + "input_layernorm");
  weights.fc1 = source->TakeAffine(prefix + "mlp.fc1");
  weights.fc2 = source->TakeAffine(prefix + "mlp.fc2");
  weights.post_attention_layernorm = source->TakeAffine(prefix + "post_attention_layernorm");
  return weights;
}

VisionWeights TakeVision(const VisionConfig& config, Source* source) {
  const std::string prefix = "transformer.vision.";
  VisionWeights weights;
  weights.patches = source->TakeAffine(prefix + "patch_embedding.proj");
  weights.cls = source->Take(prefix + "patch_embedding.cls_embedding");
  weights.positions = source->Take(prefix + "patch_embedding.position_embedding.weight");
  for (int layer = 0; layer < config.num_layers; ++layer) {
    weights.layers.push_back(TakeVisionLayer(layer, source));
  }
  weights.conv = source->TakeAffine(prefix + "conv");
  weights.boi = source->Take(prefix + "boi");
  weights.eoi = source->Take(prefix + "eoi");
  weights.linear_proj = source->Take(prefix + "linear_proj.linear_proj.weight");
  weights.norm1 = source->TakeAffine(prefix + "linear_proj.norm1");
  weights.gate_proj = source->Take(prefix + "linear_proj.gate_proj.weight");
  weights.dense_h_to_4h = source->Take(prefix + "linear_proj.dense_h_to_4h.weight");
  weights.dense_4h_to_h = source->Take(prefix + "linear_proj.dense_4h_to_h.weight");
  return weights;
}

Weights TakeAll(const ModelConfig& config, Source* source) {
  Weights weights;
  weights.language = TakeLanguage(config.language, source);
  if (config.vision) weights.vision = TakeVision(*config.vision, source);
  weights.parameters = source->parameters();
  weights.bytes = source->bytes();
  return weights;
}

// Norms near one, biases small, embeddings of size one, and matrices that keep the size of what
// they multiply.
at::Tensor RandomTensor(const TensorSpec& spec, const at::TensorOptions& options) {
  at::Tensor noise = at::randn(spec.shape, options);
  const bool is_bias = spec.name.ends_with(".bias");
  if (spec.shape.size() == 1) return is_bias ? noise.mul_(0.1) : noise.mul_(0.1).add_(1.0);
  const bool is_embedding = spec.name.ends_with("embeddings.weight") ||
                            spec.name.ends_with("embedding.weight") ||
                            spec.name.ends_with("cls_embedding") || spec.shape.size() == 3;
  if (is_embedding) return noise;
  return noise.mul_(1.0 / std::sqrt(static_cast<double>(NumElements(spec.shape) / spec.shape[0])));
}

}  // namespace

Weights LoadWeights(const ModelConfig& config, std::shared_ptr<const Checkpoint> checkpoint,
                    const at::TensorOptions& options, const LoadProgress& progress) {
  bool mapped = false;
  auto load = [&](const TensorSpec& spec) {
    const TensorView& view = checkpoint->Tensor(spec.name);
    // Only read, as the mapping is; from_blob has no const form.
    void* bytes = const_cast<uint8_t*>(view.bytes.data());
    at::Tensor tensor = at::from_blob(bytes, view.shape, at::dtype(TypeOf(view.dtype)));
    at::Tensor loaded = tensor.to(options);
    mapped = mapped || loaded.data_ptr() == bytes;
    return loaded;
  };
  checkpoint->Prefetch();
  Source source(config, load, progress, static_cast<int64_t>(options.dtype().itemsize()));
  Weights weights = TakeAll(config, &source);
  if (mapped) weights.mapping = std::move(checkpoint);
  return weights;
}

Weights DummyWeights(const ModelConfig& config, const at::TensorOptions& options,
                     const LoadProgress& progress) {
  at::manual_seed(0);
  auto make = [&](const TensorSpec& spec) { return RandomTensor(spec, options); };
  Source source(config, make, progress, static_cast<int64_t>(options.dtype().itemsize()));
  return TakeAll(config, &source);
}

}  // namespace glimpse
