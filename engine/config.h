// The sizes of a model, from its directory's config.json and generation_config.json.
//
//   GLIMPSE_ASSIGN_OR_RETURN(ModelConfig config, ReadModelConfig("models/tiny"));
//
// What ReadModelConfig returns has been checked: every size is positive and so small that no
// product of sizes, element width and batch overflows an int64; heads and patches divide evenly;
// nothing in it asks for a layer that the forwards do not have. Plain values, free to copy.
#ifndef GLIMPSE_ENGINE_CONFIG_H_
#define GLIMPSE_ENGINE_CONFIG_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace glimpse {

struct LanguageConfig {
  int num_layers = 0;
  int hidden_size = 0;
  int ffn_hidden_size = 0;  // one half of dense_h_to_4h's rows
  int num_heads = 0;        // query heads
  int num_kv_heads = 0;     // divides num_heads
  int head_size = 0;        // channels of a head; a multiple of 4
  int vocabulary_size = 0;  // rows of the embedding, padding rows included
  int max_context = 0;      // seq_length
  float norm_eps = 0;       // RMSNorm
  float rope_base = 0;      // 10000 * rope_ratio
  int rotary_size = 0;      // the first channels of a head, which are turned: head_size / 2
  bool qkv_bias = false;    // the only linear bias of the language model

  int QuerySize() const { return num_heads * head_size; }
  int KvSize() const { return num_kv_heads * head_size; }
  int QkvSize() const { return QuerySize() + 2 * KvSize(); }

  bool operator==(const LanguageConfig&) const = default;
};

struct VisionConfig {
  int num_layers = 0;
  int hidden_size = 0;  // num_heads * head_size
  int intermediate_size = 0;
  int num_heads = 0;
  int head_size = 0;
  int image_size = 0;        // pixels a side
  int patch_size = 0;        // pixels a side
  int num_positions = 0;     // Patches() + 1, the class token's
  float norm_eps = 0;        // LayerNorm of the layers; the adapter's is always 1e-5
  float scaling_factor = 0;  // the rows that reach the language model are divided by it

  int Grid() const { return image_size / patch_size; }  // patches a side; even
  int Patches() const { return Grid() * Grid(); }
  int Rows() const { return Patches() / 4 + 2; }  // of one picture, with boi and eoi

  bool operator==(const VisionConfig&) const = default;
};

// Sampling where a request says nothing. The values here are those of an absent field.
struct GenerationDefaults {
  float temperature = 1.0f;         // > 0
  float top_p = 1.0f;               // (0, 1]; 1: off
  int top_k = 0;                    // 0: off
  float repetition_penalty = 1.0f;  // > 0; 1: off
  bool do_sample = false;           // false: greedy

  bool operator==(const GenerationDefaults&) const = default;
};

struct ModelConfig {
  std::string dtype;  // torch_dtype: float32, bfloat16 or float16
  LanguageConfig language;
  std::optional<VisionConfig> vision;  // empty: a text-only checkpoint
  std::vector<int32_t> stop_ids;       // eos_token_id; at least one
  GenerationDefaults generation;

  bool operator==(const ModelConfig&) const = default;
};

// NOT_FOUND: no directory or no config.json (generation_config.json may be absent).
// INVALID_ARGUMENT: anything else, with file, field, the value found and what was expected.
absl::StatusOr<ModelConfig> ReadModelConfig(const std::string& model_dir);

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_CONFIG_H_
