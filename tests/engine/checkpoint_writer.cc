#include "tests/engine/checkpoint_writer.h"

#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <stdexcept>

#include "engine/checkpoint.h"
#include "engine/config.h"

namespace glimpse {
namespace {

using nlohmann::json;

std::string RandomBytes(const TensorSpec& spec, DType dtype, std::mt19937* random) {
  const bool is_norm_weight =
      spec.name.find("norm") != std::string::npos && spec.name.ends_with("weight");
  const float scale = spec.shape.size() > 1 ? 1.0f / std::sqrt(float(spec.shape[1])) : 0.1f;
  std::string bytes;
  for (int64_t i = 0; i < NumElements(spec.shape); ++i) {
    // Not a std::distribution: those differ between standard libraries.
    const float uniform = static_cast<float>((*random)() >> 8) / (1 << 23) - 1.0f;
    const float value = (is_norm_weight ? 1.0f : 0.0f) + scale * uniform;
    char image[sizeof value];
    std::memcpy(image, &value, sizeof value);
    // bfloat16 is the upper half of a float32.
    if (dtype == DType::kBFloat16) bytes.append(image + 2, 2);
    if (dtype == DType::kFloat32) bytes.append(image, 4);
  }
  return bytes;
}

ModelConfig ParsedConfig(const json& config) {
  TemporaryDirectory directory;
  WriteFile(directory.path() + "/config.json", config.dump());
  absl::StatusOr<ModelConfig> parsed = ReadModelConfig(directory.path());
  if (!parsed.ok()) throw std::runtime_error(std::string(parsed.status().message()));
  return *std::move(parsed);
}

}  // namespace

std::string ReadWholeFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

nlohmann::ordered_json SafetensorsHeader(const std::vector<StoredTensor>& tensors) {
  nlohmann::ordered_json header = {{"__metadata__", {{"format", "pt"}}}};
  size_t begin = 0;
  for (const StoredTensor& tensor : tensors) {
    const size_t end = begin + tensor.bytes.size();
    header[tensor.name] = {
        {"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {begin, end}}};
    begin = end;
  }
  return header;
}

std::string SafetensorsBytes(const std::string& header, const std::string& data) {
  const std::string padded = header + std::string((8 - header.size() % 8) % 8, ' ');
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<char>(padded.size() >> (8 * i)));
  return bytes + padded + data;
}

std::string SafetensorsBytes(const std::vector<StoredTensor>& tensors) {
  std::string data;
  for (const StoredTensor& tensor : tensors) data += tensor.bytes;
  return SafetensorsBytes(SafetensorsHeader(tensors).dump(), data);
}

StoredTensor& CheckpointFiles::Find(const std::string& name) {
  for (auto& [file, tensors] : shards) {
    for (StoredTensor& tensor : tensors) {
      if (tensor.name == name) return tensor;
    }
  }
  throw std::runtime_error("no such tensor: " + name);
}

void CheckpointFiles::Erase(const std::string& name) {
  for (auto& [file, tensors] : shards) {
    std::erase_if(tensors, [&](const StoredTensor& tensor) { return tensor.name == name; });
  }
}

void CheckpointFiles::Write(const std::string& directory) const {
  WriteFile(directory + "/config.json", config.dump(2));
  WriteFile(directory + "/generation_config.json", generation.dump(2));
  if (!index.is_null()) WriteFile(directory + "/model.safetensors.index.json", index.dump(2));
  for (const auto& [file, tensors] : shards) {
    WriteFile(directory + "/" + file, SafetensorsBytes(tensors));
  }
}

json SmallConfig(bool with_vision) {
  json config = {{"add_bias_linear", false},
                 {"add_qkv_bias", true},
                 {"eos_token_id", {58, 59, 60}},
                 {"ffn_hidden_size", 24},
                 {"hidden_size", 16},
                 {"kv_channels", 8},
                 {"layernorm_epsilon", 1.5625e-07},
                 {"multi_query_attention", true},
                 {"multi_query_group_num", 2},
                 {"num_attention_heads", 4},
                 {"num_layers", 2},
                 {"padded_vocab_size", 64},
                 {"rmsnorm", true},
                 {"rope_ratio", 1},
                 {"seq_length", 128},
                 {"torch_dtype", "float32"}};
  if (with_vision) {
    config["vision_config"] = {
        {"hidden_act", "gelu"}, {"hidden_size", 16},       {"image_size", 56},
        {"in_channels", 3},     {"intermediate_size", 40}, {"layer_norm_eps", 1e-06},
        {"num_heads", 2},       {"num_hidden_layers", 2},  {"num_positions", 17},
        {"patch_size", 14},     {"scaling_factor", 8}};
  }
  return config;
}

CheckpointFiles MakeCheckpoint(const json& config) {
  const ModelConfig parsed = ParsedConfig(config);
  const std::vector<TensorSpec> specs = ExpectedTensors(parsed);
  const DType dtype = *DTypeFromName(parsed.dtype);
  if (dtype == DType::kFloat16) throw std::runtime_error("float16 is not written");

  CheckpointFiles files;
  files.config = config;
  files.generation = {{"do_sample", true}, {"temperature", 0.8}, {"top_p", 0.8}};
  std::mt19937 random(1);
  for (size_t i = 0; i < specs.size(); ++i) {
    const std::string file = i < specs.size() / 2 ? "model-00001-of-00002.safetensors"
                                                  : "model-00002-of-00002.safetensors";
    files.shards[file].push_back({specs[i].name, dtype == DType::kFloat32 ? "F32" : "BF16",
                                  specs[i].shape, RandomBytes(specs[i], dtype, &random)});
    files.index["weight_map"][specs[i].name] = file;
  }
  return files;
}

}  // namespace glimpse
