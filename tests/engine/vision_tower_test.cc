// The tower against the same formula with convolutions that are convolutions and every step spelled
// out, in float32 on the CPU. On a GPU in bfloat16 it runs the project's own kernels.
#include "engine/vision_tower.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "engine/device.h"
#include "engine/picture_encoder.h"
#include "engine/weights.h"
#include "tests/engine/engine_fixture.h"

namespace glimpse {
namespace {

// Heads of `head_size`, three layers, 6 x 6 patches.
ModelConfig SmallTower(int head_size) {
  ModelConfig config;
  config.dtype = "float32";
  config.language = {.num_layers = 1,
                     .hidden_size = 64,
                     .ffn_hidden_size = 96,
                     .num_heads = 2,
                     .num_kv_heads = 1,
                     .head_size = 32,
                     .vocabulary_size = 8,
                     .max_context = 8,
                     .norm_eps = 1e-5f,
                     .rope_base = 1e4f,
                     .rotary_size = 16,
                     .qkv_bias = true};
  config.vision = VisionConfig{.num_layers = 3,
                               .hidden_size = 2 * head_size,
                               .intermediate_size = 320,
                               .num_heads = 2,
                               .head_size = head_size,
                               .image_size = 84,
                               .patch_size = 14,
                               .num_positions = 37,
                               .norm_eps = 1e-6f,
                               .scaling_factor = 8};
  return config;
}

at::Tensor Linear(const at::Tensor& x, const Affine& affine) {
  return at::matmul(x, affine.weight.t()) + affine.bias;
}

at::Tensor Norm(const at::Tensor& x, const Affine& norm, double eps) {
  const at::Tensor centred = x - x.mean(-1, true);
  return centred / (centred.square().mean(-1, true) + eps).sqrt() * norm.weight + norm.bias;
}

at::Tensor Attention(const at::Tensor& x, const VisionConfig& config,
                     const VisionLayerWeights& weights) {
  const at::Tensor qkv = Linear(x, weights.query_key_value)
                             .unflatten(-1, {3, config.num_heads, config.head_size})
                             .permute({2, 0, 3, 1, 4});  // [3, n, heads, rows, head]
  const at::Tensor scores = at::matmul(qkv[0], qkv[1].transpose(-1, -2));
  const at::Tensor shares = at::softmax(scores / std::sqrt(config.head_size), -1);
  return Linear(at::matmul(shares, qkv[2]).transpose(1, 2).flatten(2), weights.dense);
}

at::Tensor Adapt(const at::Tensor& x, const VisionWeights& weights) {
  const at::Tensor y = at::gelu(Norm(at::matmul(x, weights.linear_proj.t()), weights.norm1, 1e-5));
  const at::Tensor gate = at::silu(at::matmul(y, weights.gate_proj.t()));
  return at::matmul(gate * at::matmul(y, weights.dense_h_to_4h.t()), weights.dense_4h_to_h.t());
}

at::Tensor Oracle(const VisionConfig& config, const VisionWeights& weights,
                  const at::Tensor& pixels) {
  const int64_t pictures = pixels.size(0);
  const at::Tensor mean = at::tensor({0.48145466f, 0.4578275f, 0.40821073f}).view({1, 3, 1, 1});
  const at::Tensor deviation =
      at::tensor({0.26862954f, 0.26130258f, 0.27577711f}).view({1, 3, 1, 1});
  const at::Tensor planes =
      (pixels.permute({0, 3, 1, 2}).to(at::kFloat) / 255.0 - mean) / deviation;
  const at::Tensor patches =
      at::conv2d(planes, weights.patches.weight, weights.patches.bias, config.patch_size);
  at::Tensor x =
      at::cat({weights.cls.expand({pictures, 1, -1}), patches.flatten(2).transpose(1, 2)}, 1) +
      weights.positions;
  for (const VisionLayerWeights& layer : weights.layers) {
    x = x + Norm(Attention(x, config, layer), layer.input_layernorm, config.norm_eps);
    const at::Tensor mlp = Linear(at::gelu(Linear(x, layer.fc1)), layer.fc2);
    x = x + Norm(mlp, layer.post_attention_layernorm, config.norm_eps);
  }
  const at::Tensor grid =
      x.narrow(1, 1, config.Patches()).transpose(1, 2).unflatten(2, {config.Grid(), -1});
  const at::Tensor merged = at::conv2d(grid, weights.conv.weight, weights.conv.bias, 2);
  const at::Tensor rows = Adapt(merged.flatten(2).transpose(1, 2), weights);
  const at::Tensor boi = weights.boi.expand({pictures, 1, -1});
  const at::Tensor eoi = weights.eoi.expand({pictures, 1, -1});
  return at::cat({boi, rows, eoi}, 1) / config.scaling_factor;
}

VisionWeights Mapped(VisionWeights weights, const std::function<at::Tensor(at::Tensor)>& map) {
  const auto affine = [&](Affine& it) { it = {map(it.weight), map(it.bias)}; };
  for (Affine* it : {&weights.patches, &weights.conv, &weights.norm1}) affine(*it);
  for (at::Tensor* it :
       {&weights.cls, &weights.positions, &weights.boi, &weights.eoi, &weights.linear_proj,
        &weights.gate_proj, &weights.dense_h_to_4h, &weights.dense_4h_to_h}) {
    *it = map(*it);
  }
  for (VisionLayerWeights& layer : weights.layers) {
    for (Affine* it : {&layer.query_key_value, &layer.dense, &layer.input_layernorm, &layer.fc1,
                       &layer.fc2, &layer.post_attention_layernorm}) {
      affine(*it);
    }
  }
  return weights;
}

double Distance(const at::Tensor& a, const at::Tensor& b) {
  return ((a - b).norm() / b.norm()).item<double>();
}

struct Encoded {
  at::Tensor actual, expected;  // [n, rows, hidden] float32 on the CPU
};

// `pictures` of noise through the tower on TestDevice() in `type`.
Encoded Encode(const ModelConfig& config, at::ScalarType type, int pictures) {
  const VisionConfig& vision = *config.vision;
  const VisionWeights weights = *DummyWeights(config, at::dtype(type), {}).vision;
  const at::Tensor pixels = at::randint(0, 256, {pictures, vision.image_size, vision.image_size, 3},
                                        at::dtype(at::kByte));
  const at::Device device(TestDevice());
  const bool own_kernels = HasKernels(at::dtype(type).device(device));
  const VisionTower tower(vision, Mapped(weights, [&](at::Tensor t) { return t.to(device); }),
                          own_kernels);
  const at::Tensor x = at::full({pictures, 1 + vision.Patches(), vision.hidden_size}, NAN,
                                at::dtype(type).device(device));
  const at::Tensor out = at::full({pictures, vision.Rows(), config.language.hidden_size}, NAN,
                                  at::dtype(type).device(device));
  tower.Embed(pixels.to(device), x);
  tower.Layers(0, vision.num_layers, x);
  tower.Finish(x, out);
  const VisionWeights exact = Mapped(weights, [](at::Tensor t) { return t.to(at::kFloat); });
  return {out.cpu().to(at::kFloat), Oracle(vision, exact, pixels)};
}

TEST_CASE("the tower is its formula") {
  const int head_size = GENERATE(12, 32, 112);
  const Encoded encoded = Encode(SmallTower(head_size), at::kFloat, 1);
  CHECK(Distance(encoded.actual, encoded.expected) < 1e-3);  // a GPU's tf32, at most
}

TEST_CASE("the tower in bfloat16 is its formula but for rounding") {
  const int head_size = GENERATE(12, 32, 112);
  const Encoded encoded = Encode(SmallTower(head_size), at::kBFloat16, 1);
  CHECK(Distance(encoded.actual, encoded.expected) < 2e-2);
}

// Pictures 0, 1 and 2, as sequences 10, 11 and 12 in slots 0, 1 and 2.
StepPlan SliceOf(const std::vector<int>& pictures, int first_layer, int end_layer) {
  std::vector<StepRow> rows;
  for (int picture : pictures) {
    StepRow& row = rows.emplace_back();
    row.sequence = 10 + picture;
    row.slot = picture;
  }
  return VisionPlan(std::move(rows), first_layer, end_layer);
}

struct SlicedTower {
  explicit SlicedTower(at::ScalarType type)
      : tensors(at::dtype(type).device(at::Device(TestDevice()))),
        encoder(*config.vision,
                Mapped(*DummyWeights(config, at::dtype(type), {}).vision,
                       [&](at::Tensor t) { return t.to(tensors.device()); }),
                HasKernels(tensors), /*max_pictures=*/3),
        pixels(at::randint(0, 256, {3, 84, 84, 3}, at::dtype(at::kByte)).to(tensors.device())) {}

  // `cuts` end with the last layer; picture `gone`, if there is one, is in the first slice alone.
  std::vector<at::Tensor> Encode(const std::vector<int>& cuts, int gone = -1) {
    std::vector<at::Tensor> rows(3);
    std::vector<int> pictures = {0, 1, 2};
    int layer = 0;
    for (int cut : cuts) {
      encoder.Run(SliceOf(pictures, layer, cut), layer == 0 ? pixels : at::Tensor(), &rows);
      layer = cut;
      pictures.erase(std::remove(pictures.begin(), pictures.end(), gone), pictures.end());
    }
    return rows;
  }
  // All in one slice.
  std::vector<at::Tensor> Whole() { return Encode({3}); }
  at::Tensor Alone(int picture) {
    std::vector<at::Tensor> rows(3);
    encoder.Run(SliceOf({picture}, 0, 3), pixels.narrow(0, picture, 1), &rows);
    return rows[picture];
  }

  const ModelConfig config = SmallTower(112);
  const at::TensorOptions tensors;
  PictureEncoder encoder;
  const at::Tensor pixels;
};

TEST_CASE("wherever the layers are cut, a picture's rows are the same") {
  SlicedTower tower(GENERATE(at::kFloat, at::kBFloat16));
  const std::vector<at::Tensor> whole = tower.Whole();
  for (const std::vector<int>& cuts : std::vector<std::vector<int>>{{1, 3}, {2, 3}, {1, 2, 3}}) {
    const std::vector<at::Tensor> rows = tower.Encode(cuts);
    for (int i = 0; i < 3; ++i) CHECK(at::equal(rows[i], whole[i]));
  }
}

TEST_CASE("a picture's neighbours change its rows by no more than rounding") {
  SlicedTower tower(GENERATE(at::kFloat, at::kBFloat16));
  const std::vector<at::Tensor> rows = tower.Encode({1, 3});
  for (int i = 0; i < 3; ++i) {
    CHECK(Distance(rows[i].to(at::kFloat), tower.Alone(i).to(at::kFloat)) < 2e-2);
  }
}

TEST_CASE("a picture that is left out of a later slice leaves the others as they are") {
  SlicedTower tower(GENERATE(at::kFloat, at::kBFloat16));
  const int gone = GENERATE(0, 1, 2);
  const std::vector<at::Tensor> whole = tower.Whole();
  const std::vector<at::Tensor> rows = tower.Encode({1, 2, 3}, gone);
  for (int i = 0; i < 3; ++i) {
    CHECK(rows[i].defined() == (i != gone));
    if (i != gone) CHECK(at::equal(rows[i], whole[i]));
  }
}

TEST_CASE("a group of pictures that is given up leaves nothing to the next one") {
  SlicedTower tower(at::kFloat);
  const std::vector<at::Tensor> whole = tower.Whole();
  std::vector<at::Tensor> rows(3);
  tower.encoder.Run(SliceOf({2, 1}, 0, 2), tower.pixels, &rows);
  rows = tower.Encode({2, 3});
  for (int i = 0; i < 3; ++i) CHECK(at::equal(rows[i], whole[i]));
}

TEST_CASE("pictures of one batch do not touch each other") {
  const at::ScalarType type = GENERATE(at::kFloat, at::kBFloat16);
  const Encoded encoded = Encode(SmallTower(112), type, 3);
  for (int i = 0; i < 3; ++i) {
    CHECK(Distance(encoded.actual[i], encoded.expected[i]) < 2e-2);
  }
}

}  // namespace
}  // namespace glimpse
