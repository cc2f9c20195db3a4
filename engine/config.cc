#include "engine/config.h"

#include <cmath>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "engine/safetensors.h"
#include "engine/strict_json.h"
#include "preprocess/status_macros.h"

namespace glimpse {
namespace {

using nlohmann::json;

// Far above any model of the family, and so low that the largest products stay inside an int64:
// the KV cache of 64 sequences (layers x context x KV heads x head size x 2 x 4 bytes x 64) below
// 2^60, the attention scores of one picture (heads x positions^2 x 4 bytes) below 2^53.
constexpr int kMaxLayers = 1 << 10;
constexpr int kMaxHeads = 1 << 10;
constexpr int kMaxHeadSize = 1 << 9;
constexpr int kMaxHiddenSize = 1 << 17;
constexpr int kMaxFfnSize = 1 << 19;
constexpr int kMaxVocabulary = 1 << 22;
constexpr int kMaxContext = 1 << 21;
constexpr int kMaxImageSize = 1 << 13;
constexpr int kMaxPatchSize = 1 << 9;
constexpr int kMaxGrid = 1 << 10;
constexpr size_t kMaxStopIds = 64;

// Reads typed fields of one JSON object. The first fault stays in status(); what is read after it
// is a valid value of no meaning.
class Fields {
 public:
  Fields(const json& object, std::string file, std::string prefix = "")
      : object_(object), file_(std::move(file)), prefix_(std::move(prefix)) {}

  const absl::Status& status() const { return status_; }
  bool Has(const char* name) const { return object_.contains(name); }

  int Int(const char* name, int64_t min, int64_t max) {
    const json* value = Find(name);
    if (value != nullptr && IsInt(*value, min, max)) return value->get<int>();
    Fail(name, absl::StrCat("an integer from ", min, " to ", max));
    return static_cast<int>(min);
  }

  int Int(const char* name, int64_t min, int64_t max, int if_absent) {
    return Has(name) ? Int(name, min, max) : if_absent;
  }

  // `above` < value <= `max`.
  float Number(const char* name, double above, double max) {
    const json* value = Find(name);
    if (value != nullptr && value->is_number()) {
      const double number = value->get<double>();
      // The second test: a tiny double can become 0 as a float.
      if (number > above && number <= max && static_cast<float>(number) > above) {
        return static_cast<float>(number);
      }
    }
    Fail(name, absl::StrCat("a number above ", above, " and at most ", max));
    return static_cast<float>(max);
  }

  float Number(const char* name, double above, double max, float if_absent) {
    return Has(name) ? Number(name, above, max) : if_absent;
  }

  bool Bool(const char* name) {
    const json* value = Find(name);
    if (value != nullptr && value->is_boolean()) return value->get<bool>();
    Fail(name, "true or false");
    return false;
  }

  bool Bool(const char* name, bool if_absent) { return Has(name) ? Bool(name) : if_absent; }

  std::string String(const char* name, absl::string_view expected) {
    const json* value = Find(name);
    if (value != nullptr && value->is_string()) return value->get<std::string>();
    Fail(name, expected);
    return "";
  }

  // A token id or an array of them, each below `vocabulary`.
  std::vector<int32_t> TokenIds(const char* name, int vocabulary) {
    const json* value = Find(name);
    std::vector<int32_t> ids;
    if (value != nullptr) {
      const json list = value->is_array() ? *value : json::array({*value});
      for (const json& id : list) {
        if (!IsInt(id, 0, vocabulary - 1) || ids.size() == kMaxStopIds) break;
        ids.push_back(id.get<int32_t>());
      }
      if (!ids.empty() && ids.size() == list.size()) return ids;
    }
    Fail(name, absl::StrCat("1 to ", kMaxStopIds, " token ids from 0 to ", vocabulary - 1));
    return ids;
  }

  // Fails at field `name`, which has been read, unless `holds`.
  void Require(bool holds, const char* name, absl::string_view expected) {
    if (!holds) Fail(name, expected);
  }

 private:
  const json* Find(const char* name) const {
    const auto found = object_.find(name);
    return found == object_.end() ? nullptr : &*found;
  }

  static bool IsInt(const json& value, int64_t min, int64_t max) {
    if (!value.is_number_integer()) return false;
    // An unsigned beyond an int64 would come out negative.
    if (value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(max)) {
      return false;
    }
    return value.get<int64_t>() >= min && value.get<int64_t>() <= max;
  }

  void Fail(const char* name, absl::string_view expected) {
    if (!status_.ok()) return;
    const json* value = Find(name);
    status_ = absl::InvalidArgumentError(absl::StrCat(file_, ": ", prefix_, name, " is ",
                                                      value ? Shown(*value) : "missing",
                                                      ", expected ", expected));
  }

  const json& object_;
  const std::string file_;
  const std::string prefix_;  // "vision_config." inside that object
  absl::Status status_;
};

// The family's switches that the forward does not implement.
void RequireKnownLayers(Fields* fields) {
  fields->Require(!fields->Bool("add_bias_linear"), "add_bias_linear", "false");
  fields->Require(fields->Bool("multi_query_attention"), "multi_query_attention", "true");
  fields->Require(fields->Bool("rmsnorm", true), "rmsnorm", "true");
  fields->Require(fields->Bool("post_layer_norm", true), "post_layer_norm", "true");
  fields->Require(!fields->Bool("apply_residual_connection_post_layernorm", false),
                  "apply_residual_connection_post_layernorm", "false");
  fields->Require(!fields->Bool("tie_word_embeddings", false), "tie_word_embeddings", "false");
}

LanguageConfig ReadLanguage(Fields* fields) {
  LanguageConfig config;
  config.num_layers = fields->Int("num_layers", 1, kMaxLayers);
  config.hidden_size = fields->Int("hidden_size", 1, kMaxHiddenSize);
  config.ffn_hidden_size = fields->Int("ffn_hidden_size", 1, kMaxFfnSize);
  config.num_heads = fields->Int("num_attention_heads", 1, kMaxHeads);
  config.num_kv_heads = fields->Int("multi_query_group_num", 1, kMaxHeads);
  config.head_size = fields->Int("kv_channels", 1, kMaxHeadSize);
  config.vocabulary_size = fields->Int("padded_vocab_size", 1, kMaxVocabulary);
  config.max_context = fields->Int("seq_length", 1, kMaxContext);
  config.norm_eps = fields->Number("layernorm_epsilon", 0, 1);
  config.rope_base = 10000.0f * fields->Number("rope_ratio", 0, 1e6, 1.0f);
  config.rotary_size = config.head_size / 2;
  config.qkv_bias = fields->Bool("add_qkv_bias");
  fields->Require(config.num_heads % config.num_kv_heads == 0, "multi_query_group_num",
                  absl::StrCat("a divisor of num_attention_heads ", config.num_heads));
  fields->Require(config.head_size % 4 == 0, "kv_channels", "a multiple of 4");
  RequireKnownLayers(fields);
  return config;
}

void CheckVisionSizes(const VisionConfig& config, Fields* fields) {
  fields->Require(config.hidden_size % config.num_heads == 0, "num_heads",
                  absl::StrCat("a divisor of hidden_size ", config.hidden_size));
  fields->Require(config.hidden_size / config.num_heads <= kMaxHeadSize, "num_heads",
                  absl::StrCat("heads of at most ", kMaxHeadSize, " channels"));
  fields->Require(config.image_size % (2 * config.patch_size) == 0, "image_size",
                  absl::StrCat("an even number of patches of patch_size ", config.patch_size));
  if (!fields->status().ok()) return;  // Grid() is not what it says
  fields->Require(config.Grid() <= kMaxGrid, "image_size",
                  absl::StrCat("at most ", kMaxGrid, " patches a side"));
  if (!fields->status().ok()) return;  // Patches() could overflow
  fields->Require(config.num_positions == config.Patches() + 1, "num_positions",
                  absl::StrCat("(image_size / patch_size)^2 + 1 = ", config.Patches() + 1));
}

VisionConfig ReadVision(Fields* fields) {
  VisionConfig config;
  config.num_layers = fields->Int("num_hidden_layers", 1, kMaxLayers);
  config.hidden_size = fields->Int("hidden_size", 1, kMaxHiddenSize);
  config.intermediate_size = fields->Int("intermediate_size", 1, kMaxFfnSize);
  config.num_heads = fields->Int("num_heads", 1, kMaxHeads);
  config.head_size = config.hidden_size / config.num_heads;
  config.image_size = fields->Int("image_size", 2, kMaxImageSize);
  config.patch_size = fields->Int("patch_size", 1, kMaxPatchSize);
  config.num_positions = fields->Int("num_positions", 1, kMaxGrid * kMaxGrid + 1);
  config.norm_eps = fields->Number("layer_norm_eps", 0, 1);
  config.scaling_factor = fields->Number("scaling_factor", 0, 1e6);
  fields->Require(fields->String("hidden_act", "'gelu'") == "gelu", "hidden_act", "'gelu'");
  fields->Int("in_channels", 3, 3);
  CheckVisionSizes(config, fields);
  return config;
}

GenerationDefaults ReadGeneration(Fields* fields) {
  GenerationDefaults defaults;
  defaults.temperature = fields->Number("temperature", 0, 100, defaults.temperature);
  defaults.top_p = fields->Number("top_p", 0, 1, defaults.top_p);
  defaults.top_k = fields->Int("top_k", 0, kMaxVocabulary, defaults.top_k);
  defaults.repetition_penalty =
      fields->Number("repetition_penalty", 0, 100, defaults.repetition_penalty);
  defaults.do_sample = fields->Bool("do_sample", defaults.do_sample);
  return defaults;
}

}  // namespace

absl::StatusOr<ModelConfig> ReadModelConfig(const std::string& model_dir) {
  const std::filesystem::path directory(model_dir);
  const std::string file = directory / "config.json";
  GLIMPSE_ASSIGN_OR_RETURN(const json object, ReadStrictJson(file));
  Fields fields(object, file);

  ModelConfig config;
  const char* const dtypes = "float32, bfloat16 or float16";
  config.dtype = fields.String("torch_dtype", dtypes);
  fields.Require(DTypeFromName(config.dtype).has_value(), "torch_dtype", dtypes);
  config.language = ReadLanguage(&fields);
  config.stop_ids = fields.TokenIds("eos_token_id", config.language.vocabulary_size);
  GLIMPSE_RETURN_IF_ERROR(fields.status());

  if (fields.Has("vision_config")) {
    const json& vision = object["vision_config"];
    fields.Require(vision.is_object(), "vision_config", "an object");
    GLIMPSE_RETURN_IF_ERROR(fields.status());
    Fields vision_fields(vision, file, "vision_config.");
    config.vision = ReadVision(&vision_fields);
    GLIMPSE_RETURN_IF_ERROR(vision_fields.status());
  }

  const std::string generation_file = directory / "generation_config.json";
  const absl::StatusOr<json> generation = ReadStrictJson(generation_file);
  if (absl::IsNotFound(generation.status())) return config;
  GLIMPSE_RETURN_IF_ERROR(generation.status());
  Fields generation_fields(*generation, generation_file);
  config.generation = ReadGeneration(&generation_fields);
  GLIMPSE_RETURN_IF_ERROR(generation_fields.status());
  return config;
}

}  // namespace glimpse
