// The model's matrices on the device, as named fields. Read-only once loaded; copies share memory.
//
// Shapes use config.h's words: hidden, ffn, heads, kv_heads, head of the language model; width,
// intermediate of the vision tower. A linear layer is y = x weight^T + bias.
#ifndef GLIMPSE_ENGINE_WEIGHTS_H_
#define GLIMPSE_ENGINE_WEIGHTS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "engine/checkpoint.h"
#include "engine/config.h"

namespace glimpse {

struct Affine {
  at::Tensor weight;
  at::Tensor bias;  // [rows of weight]; undefined where the model has none
};

struct LanguageLayerWeights {
  at::Tensor input_layernorm;  // [hidden]
  Affine query_key_value;      // [(heads + 2 kv_heads) head, hidden]: queries, keys, values
  at::Tensor dense;            // [hidden, heads head]
  at::Tensor post_attention_layernorm;  // [hidden]
  at::Tensor dense_h_to_4h;             // [2 ffn, hidden]: the gate's half first
  at::Tensor dense_4h_to_h;             // [hidden, ffn]
};

struct LanguageWeights {
  at::Tensor word_embeddings;  // [vocabulary, hidden]
  std::vector<LanguageLayerWeights> layers;
  at::Tensor final_layernorm;  // [hidden]
  at::Tensor output_layer;     // [vocabulary, hidden]
};

struct VisionLayerWeights {
  Affine query_key_value;           // [3 width, width]: queries, keys, values
  Affine dense;                     // [width, width]
  Affine input_layernorm;           // [width]; after attention, in spite of its name
  Affine fc1;                       // [intermediate, width]
  Affine fc2;                       // [width, intermediate]
  Affine post_attention_layernorm;  // [width]; after the MLP
};

struct VisionWeights {
  Affine patches;        // [width, 3, patch, patch]
  at::Tensor cls;        // [1, width]
  at::Tensor positions;  // [patches + 1, width]
  std::vector<VisionLayerWeights> layers;
  Affine conv;               // [hidden, width, 2, 2]
  at::Tensor boi, eoi;       // [1, 1, hidden]
  at::Tensor linear_proj;    // [hidden, hidden]
  Affine norm1;              // [hidden]
  at::Tensor gate_proj;      // [ffn, hidden]
  at::Tensor dense_h_to_4h;  // [ffn, hidden]
  at::Tensor dense_4h_to_h;  // [hidden, ffn]
};

struct Weights {
  LanguageWeights language;
  std::optional<VisionWeights> vision;  // empty: a text-only checkpoint
  int64_t parameters = 0;
  int64_t bytes = 0;  // in the type they have here
  // Set where the tensors above lie in the checkpoint's mapped files themselves.
  std::shared_ptr<const Checkpoint> mapping;
};

using LoadProgress = std::function<void(int64_t done, int64_t total)>;  // bytes; may be empty

// The checkpoint's tensors in the type and on the device of `options`: on the CPU in the
// checkpoint's own type they stay where they are mapped, else they are converted and uploaded one
// by one. `config` must be that which the checkpoint was opened with. Throws c10::Error.
Weights LoadWeights(const ModelConfig& config, std::shared_ptr<const Checkpoint> checkpoint,
                    const at::TensorOptions& options, const LoadProgress& progress);

// Random weights of the true sizes, made on the device: the same ones each time on the same kind of
// device. Their scale keeps every activation finite and of ordinary size. Throws c10::Error.
Weights DummyWeights(const ModelConfig& config, const at::TensorOptions& options,
                     const LoadProgress& progress);

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_WEIGHTS_H_
