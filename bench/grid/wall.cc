#include "bench/grid/wall.h"

#include <algorithm>

namespace glimpse::bench {
namespace {

constexpr double kBf16 = 2;  // bytes

double Milliseconds(double bytes, double flops, const Walls& walls) {
  return std::max(bytes / walls.read_gb_s / 1e6, flops / walls.product_tflop_s / 1e9);
}

// Weights of the matrices that every token is multiplied by.
double LayerWeights(const LanguageConfig& config) {
  const double hidden = config.hidden_size;
  return config.num_layers * hidden *
         (config.QkvSize() + config.QuerySize() + 3.0 * config.ffn_hidden_size);
}

double HeadWeights(const LanguageConfig& config) {
  return static_cast<double>(config.hidden_size) * config.vocabulary_size;
}

// Of queries with so many keys in all: the scores and their product with the values.
double AttentionFlops(const LanguageConfig& config, double keys) {
  return 4.0 * config.num_layers * config.QuerySize() * keys;
}

}  // namespace

double DecodeWall(const LanguageConfig& config, int batch, int context, const Walls& walls) {
  const double weights = LayerWeights(config) + HeadWeights(config);
  const double keys = static_cast<double>(batch) * context;
  const double cache = 2.0 * config.num_layers * config.KvSize() * keys;
  const double flops = 2.0 * weights * batch + AttentionFlops(config, keys);
  return Milliseconds(kBf16 * (weights + cache), flops, walls);
}

double PrefillWall(const LanguageConfig& config, int batch, int context, const Walls& walls) {
  const double tokens = static_cast<double>(batch) * context;
  const double keys = tokens * (context + 1) / 2;  // each token sees itself and what is before it
  const double flops = 2.0 * LayerWeights(config) * tokens + 2.0 * HeadWeights(config) * batch +
                       AttentionFlops(config, keys);
  return Milliseconds(kBf16 * (LayerWeights(config) + HeadWeights(config)), flops, walls);
}

double VisionWall(const ModelConfig& config, int pictures, const Walls& walls) {
  const VisionConfig& vision = *config.vision;
  const double width = vision.hidden_size, rows = vision.num_positions;
  const double hidden = config.language.hidden_size, ffn = config.language.ffn_hidden_size;
  const double layer = 4.0 * width * width + 2.0 * width * vision.intermediate_size;
  const double patches = width * 3 * vision.patch_size * vision.patch_size;
  const double adapter = 4.0 * width * hidden + hidden * hidden + 3.0 * hidden * ffn;
  const double one = 2.0 * vision.num_layers * layer * rows +
                     4.0 * vision.num_layers * rows * rows * width +
                     2.0 * patches * vision.Patches() + 2.0 * adapter * vision.Patches() / 4;
  const double weights = vision.num_layers * layer + patches + adapter;
  return Milliseconds(kBf16 * weights, one * pictures, walls);
}

}  // namespace glimpse::bench
