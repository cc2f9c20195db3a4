#include "engine/config.h"

#include <catch2/catch.hpp>

#include "tests/engine/checkpoint_writer.h"

namespace glimpse {
namespace {

using nlohmann::json;

constexpr char kNineBillion[] = R"({
  "_name_or_path": "THUDM/glm-4v-9b", "model_type": "chatglm", "architectures": ["ChatGLMModel"],
  "add_bias_linear": false, "add_qkv_bias": true, "apply_query_key_layer_scaling": true,
  "apply_residual_connection_post_layernorm": false, "attention_dropout": 0.0,
  "attention_softmax_in_fp32": true, "bias_dropout_fusion": true, "ffn_hidden_size": 13696,
  "fp32_residual_connection": false, "hidden_dropout": 0.0, "hidden_size": 4096,
  "kv_channels": 128, "layernorm_epsilon": 1.5625e-07, "multi_query_attention": true,
  "multi_query_group_num": 2, "num_attention_heads": 32, "num_layers": 40, "original_rope": true,
  "padded_vocab_size": 151552, "post_layer_norm": true, "rmsnorm": true, "rope_ratio": 1,
  "seq_length": 8192, "use_cache": true, "torch_dtype": "bfloat16", "tie_word_embeddings": false,
  "eos_token_id": [151329, 151336, 151338], "pad_token_id": 151329, "boi_token_id": 151339,
  "eoi_token_id": 151340,
  "vision_config": {"dropout_prob": 0.0, "hidden_act": "gelu", "in_channels": 3,
    "num_hidden_layers": 63, "hidden_size": 1792, "patch_size": 14, "num_heads": 16,
    "intermediate_size": 15360, "layer_norm_eps": 1e-06, "num_positions": 6401,
    "image_size": 1120, "scaling_factor": 8}})";

class ModelDirectory {
 public:
  absl::StatusOr<ModelConfig> Read(const std::string& config) {
    WriteFile(path() + "/config.json", config);
    return ReadModelConfig(path());
  }

  // The fault without the path of the directory.
  std::string FaultOf(const std::string& config) {
    const absl::Status status = Read(config).status();
    REQUIRE(absl::IsInvalidArgument(status));
    const std::string message(status.message());
    REQUIRE(message.rfind(path() + "/", 0) == 0);
    return message.substr(path().size() + 1);
  }

  const std::string& path() const { return directory_.path(); }

 private:
  TemporaryDirectory directory_;
};

TEST_CASE("config of the 9B gives all sizes") {
  ModelDirectory directory;
  const absl::StatusOr<ModelConfig> config = directory.Read(kNineBillion);
  REQUIRE(config.ok());
  CHECK(config->dtype == "bfloat16");
  CHECK(config->stop_ids == std::vector<int32_t>{151329, 151336, 151338});

  const LanguageConfig& language = config->language;
  CHECK(language.num_layers == 40);
  CHECK(language.hidden_size == 4096);
  CHECK(language.ffn_hidden_size == 13696);
  CHECK(language.num_heads == 32);
  CHECK(language.num_kv_heads == 2);
  CHECK(language.head_size == 128);
  CHECK(language.QkvSize() == 4608);
  CHECK(language.vocabulary_size == 151552);
  CHECK(language.max_context == 8192);
  CHECK(language.norm_eps == 1.5625e-07f);
  CHECK(language.rope_base == 10000.0f);
  CHECK(language.rotary_size == 64);
  CHECK(language.qkv_bias);

  REQUIRE(config->vision.has_value());
  const VisionConfig& vision = *config->vision;
  CHECK(vision.num_layers == 63);
  CHECK(vision.hidden_size == 1792);
  CHECK(vision.intermediate_size == 15360);
  CHECK(vision.num_heads == 16);
  CHECK(vision.head_size == 112);
  CHECK(vision.image_size == 1120);
  CHECK(vision.patch_size == 14);
  CHECK(vision.num_positions == 6401);
  CHECK(vision.norm_eps == 1e-06f);
  CHECK(vision.scaling_factor == 8.0f);
  CHECK(vision.Grid() == 80);
  CHECK(vision.Patches() == 6400);
  CHECK(vision.Rows() == 1602);
}

TEST_CASE("config without vision_config is a text-only model") {
  ModelDirectory directory;
  json text = json::parse(kNineBillion);
  text.erase("vision_config");
  text["rope_ratio"] = 500;
  text["eos_token_id"] = 7;
  const absl::StatusOr<ModelConfig> config = directory.Read(text.dump());
  REQUIRE(config.ok());
  CHECK_FALSE(config->vision.has_value());
  CHECK(config->language.rope_base == 5e6f);
  CHECK(config->stop_ids == std::vector<int32_t>{7});
}

TEST_CASE("config takes sampling defaults from generation_config.json, greedy without it") {
  ModelDirectory directory;
  REQUIRE(directory.Read(kNineBillion).ok());
  CHECK_FALSE(directory.Read(kNineBillion)->generation.do_sample);

  WriteFile(directory.path() + "/generation_config.json",
            R"({"do_sample": true, "temperature": 0.8, "top_p": 0.75, "top_k": 5,
                "repetition_penalty": 1.1, "max_length": 128000})");
  const absl::StatusOr<ModelConfig> config = ReadModelConfig(directory.path());
  REQUIRE(config.ok());
  CHECK(config->generation.do_sample);
  CHECK(config->generation.temperature == 0.8f);
  CHECK(config->generation.top_p == 0.75f);
  CHECK(config->generation.top_k == 5);
  CHECK(config->generation.repetition_penalty == 1.1f);

  WriteFile(directory.path() + "/generation_config.json", R"({"top_p": 1.5})");
  CHECK(ReadModelConfig(directory.path()).status().message() ==
        directory.path() +
            "/generation_config.json: top_p is 1.5, expected a number above 0 and at most 1");
  WriteFile(directory.path() + "/generation_config.json", "{");
  CHECK(absl::IsInvalidArgument(ReadModelConfig(directory.path()).status()));
}

TEST_CASE("config that is absent is NOT_FOUND") {
  const TemporaryDirectory directory;
  const std::string missing = directory.path() + "/nowhere";
  const absl::Status status = ReadModelConfig(missing).status();
  CHECK(status == absl::NotFoundError(missing + "/config.json: No such file or directory"));
}

TEST_CASE("config that is broken, nested or says a thing twice is refused") {
  ModelDirectory directory;
  CHECK(directory.FaultOf("{\"num_layers\": 1") == "config.json: not valid JSON at byte 17");
  CHECK(directory.FaultOf("[1]") == "config.json: expected a JSON object");
  CHECK(directory.FaultOf("{\"a\":" + std::string(1'000'000, '[')) ==
        "config.json: JSON nested deeper than 16");
  CHECK(directory.FaultOf(R"({"num_layers": 1, "num_layers": 2})") ==
        "config.json: the key 'num_layers' appears twice");
  CHECK(directory.FaultOf(R"({"vision_config": 3, )" + std::string(kNineBillion + 1)) ==
        "config.json: the key 'vision_config' appears twice");
}

struct BadField {
  const char* pointer;
  const char* value;  // JSON; empty: the field is erased
  const char* fault;
};

// One fault each, in a config.json that is valid but for it.
const BadField kBadFields[] = {
    {"/num_layers", "", "num_layers is missing, expected an integer from 1 to 1024"},
    {"/num_layers", "0", "num_layers is 0, expected an integer from 1 to 1024"},
    {"/num_layers", "-3", "num_layers is -3, expected an integer from 1 to 1024"},
    {"/num_layers", "40.0", "num_layers is 40.0, expected an integer from 1 to 1024"},
    {"/num_layers", "\"40\"", "num_layers is \"40\", expected an integer from 1 to 1024"},
    {"/num_layers", "null", "num_layers is null, expected an integer from 1 to 1024"},
    {"/hidden_size", "131073", "hidden_size is 131073, expected an integer from 1 to 131072"},
    {"/hidden_size", "18446744073709551615",
     "hidden_size is 18446744073709551615, expected an integer from 1 to 131072"},
    {"/hidden_size", "-9223372036854775808",
     "hidden_size is -9223372036854775808, expected an integer from 1 to 131072"},
    {"/ffn_hidden_size", "1e300",
     "ffn_hidden_size is 1e+300, expected an integer from 1 to 524288"},
    {"/padded_vocab_size", "[]", "padded_vocab_size is [], expected an integer from 1 to 4194304"},
    {"/seq_length", "0", "seq_length is 0, expected an integer from 1 to 2097152"},
    {"/kv_channels", "513", "kv_channels is 513, expected an integer from 1 to 512"},
    {"/kv_channels", "6", "kv_channels is 6, expected a multiple of 4"},
    {"/num_attention_heads", "1025",
     "num_attention_heads is 1025, expected an integer from 1 to 1024"},
    {"/multi_query_group_num", "3",
     "multi_query_group_num is 3, expected a divisor of num_attention_heads 32"},
    {"/layernorm_epsilon", "0", "layernorm_epsilon is 0, expected a number above 0 and at most 1"},
    {"/layernorm_epsilon", "1e-300",
     "layernorm_epsilon is 1e-300, expected a number above 0 and at most 1"},
    {"/rope_ratio", "-1", "rope_ratio is -1, expected a number above 0 and at most 1e+06"},
    {"/torch_dtype", "\"int8\"", "torch_dtype is \"int8\", expected float32, bfloat16 or float16"},
    {"/torch_dtype", "", "torch_dtype is missing, expected float32, bfloat16 or float16"},
    {"/add_qkv_bias", "", "add_qkv_bias is missing, expected true or false"},
    {"/add_qkv_bias", "1", "add_qkv_bias is 1, expected true or false"},
    {"/add_bias_linear", "true", "add_bias_linear is true, expected false"},
    {"/multi_query_attention", "false", "multi_query_attention is false, expected true"},
    {"/rmsnorm", "false", "rmsnorm is false, expected true"},
    {"/post_layer_norm", "false", "post_layer_norm is false, expected true"},
    {"/apply_residual_connection_post_layernorm", "true",
     "apply_residual_connection_post_layernorm is true, expected false"},
    {"/tie_word_embeddings", "true", "tie_word_embeddings is true, expected false"},
    {"/eos_token_id", "", "eos_token_id is missing, expected 1 to 64 token ids from 0 to 151551"},
    {"/eos_token_id", "[]", "eos_token_id is [], expected 1 to 64 token ids from 0 to 151551"},
    {"/eos_token_id", "[1, 151552]",
     "eos_token_id is [1,151552], expected 1 to 64 token ids from 0 to 151551"},
    {"/eos_token_id", "[[1]]",
     "eos_token_id is [[1]], expected 1 to 64 token ids from 0 to 151551"},
    {"/vision_config", "null", "vision_config is null, expected an object"},
    {"/vision_config/num_hidden_layers", "",
     "vision_config.num_hidden_layers is missing, expected an integer from 1 to 1024"},
    {"/vision_config/num_heads", "15",
     "vision_config.num_heads is 15, expected a divisor of hidden_size 1792"},
    {"/vision_config/num_heads", "2",
     "vision_config.num_heads is 2, expected heads of at most 512 channels"},
    {"/vision_config/num_positions", "6400",
     "vision_config.num_positions is 6400, expected (image_size / patch_size)^2 + 1 = 6401"},
    {"/vision_config/image_size", "1134",
     "vision_config.image_size is 1134, expected an even number of patches of patch_size 14"},
    {"/vision_config/image_size", "1121",
     "vision_config.image_size is 1121, expected an even number of patches of patch_size 14"},
    {"/vision_config/patch_size", "0",
     "vision_config.patch_size is 0, expected an integer from 1 to 512"},
    {"/vision_config/patch_size", "1",
     "vision_config.image_size is 1120, expected at most 1024 patches a side"},
    {"/vision_config/in_channels", "4",
     "vision_config.in_channels is 4, expected an integer from 3 to 3"},
    {"/vision_config/hidden_act", "\"relu\"",
     "vision_config.hidden_act is \"relu\", expected 'gelu'"},
    {"/vision_config/scaling_factor", "0",
     "vision_config.scaling_factor is 0, expected a number above 0 and at most 1e+06"},
    {"/vision_config/layer_norm_eps", "2",
     "vision_config.layer_norm_eps is 2, expected a number above 0 and at most 1"},
};

TEST_CASE("config names the bad field, its value and what was expected") {
  ModelDirectory directory;
  for (const BadField& bad : kBadFields) {
    json config = json::parse(kNineBillion);
    const json::json_pointer pointer(bad.pointer);
    if (*bad.value == '\0') {
      config.at(pointer.parent_pointer()).erase(pointer.back());
    } else {
      config[pointer] = json::parse(bad.value);
    }
    CHECK(directory.FaultOf(config.dump()) == std::string("config.json: ") + bad.fault);
  }
}

TEST_CASE("config may leave out the switches that have a default in the family") {
  ModelDirectory directory;
  json config = json::parse(kNineBillion);
  for (const char* name : {"rmsnorm", "post_layer_norm", "tie_word_embeddings", "rope_ratio",
                           "apply_residual_connection_post_layernorm"}) {
    config.erase(name);
  }
  const absl::StatusOr<ModelConfig> read = directory.Read(config.dump());
  REQUIRE(read.ok());
  CHECK(read->language.rope_base == 10000.0f);
}

}  // namespace
}  // namespace glimpse
