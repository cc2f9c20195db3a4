#include "engine/checkpoint.h"

#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <map>

#include "tests/engine/checkpoint_writer.h"

namespace glimpse {
namespace {

using nlohmann::json;

constexpr char kShard1[] = "model-00001-of-00002.safetensors";
constexpr char kShard2[] = "model-00002-of-00002.safetensors";
constexpr char kIndex[] = "model.safetensors.index.json";
constexpr char kOutput[] = "transformer.output_layer.weight";  // [64, 16], in the second shard
constexpr char kBoi[] = "transformer.vision.boi";

absl::StatusOr<std::unique_ptr<Checkpoint>> OpenDirectory(const std::string& directory) {
  const absl::StatusOr<ModelConfig> config = ReadModelConfig(directory);
  if (!config.ok()) return config.status();
  return Checkpoint::Open(directory, *config);
}

// The fault of these files, without the path of the directory before each file's name.
std::string FaultOf(const CheckpointFiles& files,
                    absl::StatusCode code = absl::StatusCode::kInvalidArgument) {
  const TemporaryDirectory directory;
  files.Write(directory.path());
  const absl::Status status = OpenDirectory(directory.path()).status();
  REQUIRE(status.code() == code);
  const std::string message(status.message());
  REQUIRE(message.rfind(directory.path(), 0) == 0);
  return message.substr(directory.path().size() + 1);
}

// Moves all tensors into one file without an index.
CheckpointFiles SingleFile() {
  CheckpointFiles files = SmallCheckpoint();
  std::vector<StoredTensor> tensors = files.shards[kShard1];
  tensors.insert(tensors.end(), files.shards[kShard2].begin(), files.shards[kShard2].end());
  files.shards = {{"model.safetensors", tensors}};
  files.index = nullptr;
  return files;
}

std::string Bytes(const TensorView& tensor) {
  return std::string(tensor.bytes.begin(), tensor.bytes.end());
}

using Shape = std::vector<int64_t>;

ModelConfig NineBillion() {
  ModelConfig config;
  config.language = {.num_layers = 40,
                     .hidden_size = 4096,
                     .ffn_hidden_size = 13696,
                     .num_heads = 32,
                     .num_kv_heads = 2,
                     .head_size = 128,
                     .vocabulary_size = 151552,
                     .qkv_bias = true};
  config.vision = VisionConfig{.num_layers = 63,
                               .hidden_size = 1792,
                               .intermediate_size = 15360,
                               .num_heads = 16,
                               .head_size = 112,
                               .image_size = 1120,
                               .patch_size = 14,
                               .num_positions = 6401};
  return config;
}

std::map<std::string, Shape> NineBillionShapes() {
  std::map<std::string, Shape> shapes;
  for (const TensorSpec& spec : ExpectedTensors(NineBillion())) shapes[spec.name] = spec.shape;
  return shapes;
}

TEST_CASE("expected tensors of the 9B are as many, and as large, as the published checkpoint's") {
  int64_t language_parameters = 0, vision_parameters = 0;
  for (const TensorSpec& spec : ExpectedTensors(NineBillion())) {
    const bool is_vision = spec.name.find("vision") != std::string::npos;
    (is_vision ? vision_parameters : language_parameters) += NumElements(spec.shape);
  }
  // 7 a language layer, 12 a vision layer; 3 and 14 that stand alone.
  CHECK(NineBillionShapes().size() == 40 * 7 + 3 + 63 * 12 + 14);
  CHECK(language_parameters == 9'399'951'360);
  CHECK(vision_parameters == 4'506'369'536);
}

TEST_CASE("expected tensors of the 9B's language model have its shapes") {
  const std::map<std::string, Shape> shapes = NineBillionShapes();
  const std::string language = "transformer.encoder.layers.39.";
  CHECK(shapes.at("transformer.embedding.word_embeddings.weight") == Shape{151552, 4096});
  CHECK(shapes.at(language + "input_layernorm.weight") == Shape{4096});
  CHECK(shapes.at(language + "self_attention.query_key_value.weight") == Shape{4608, 4096});
  CHECK(shapes.at(language + "self_attention.query_key_value.bias") == Shape{4608});
  CHECK(shapes.at(language + "self_attention.dense.weight") == Shape{4096, 4096});
  CHECK(shapes.at(language + "post_attention_layernorm.weight") == Shape{4096});
  CHECK(shapes.at(language + "mlp.dense_h_to_4h.weight") == Shape{27392, 4096});
  CHECK(shapes.at(language + "mlp.dense_4h_to_h.weight") == Shape{4096, 13696});
  CHECK(shapes.at("transformer.encoder.final_layernorm.weight") == Shape{4096});
  CHECK(shapes.at("transformer.output_layer.weight") == Shape{151552, 4096});
}

TEST_CASE("expected tensors of the 9B's vision tower have its shapes") {
  const std::map<std::string, Shape> shapes = NineBillionShapes();
  const std::string vision = "transformer.vision.";
  CHECK(shapes.at(vision + "patch_embedding.proj.weight") == Shape{1792, 3, 14, 14});
  CHECK(shapes.at(vision + "patch_embedding.proj.bias") == Shape{1792});
  CHECK(shapes.at(vision + "patch_embedding.cls_embedding") == Shape{1, 1792});
  CHECK(shapes.at(vision + "patch_embedding.position_embedding.weight") == Shape{6401, 1792});
  CHECK(shapes.at(vision + "conv.weight") == Shape{4096, 1792, 2, 2});
  CHECK(shapes.at(vision + "conv.bias") == Shape{4096});
  CHECK(shapes.at(vision + "boi") == Shape{1, 1, 4096});
  CHECK(shapes.at(vision + "eoi") == Shape{1, 1, 4096});
  CHECK(shapes.at(vision + "linear_proj.linear_proj.weight") == Shape{4096, 4096});
  CHECK(shapes.at(vision + "linear_proj.norm1.bias") == Shape{4096});
  CHECK(shapes.at(vision + "linear_proj.gate_proj.weight") == Shape{13696, 4096});
  CHECK(shapes.at(vision + "linear_proj.dense_h_to_4h.weight") == Shape{13696, 4096});
  CHECK(shapes.at(vision + "linear_proj.dense_4h_to_h.weight") == Shape{4096, 13696});
  const std::string layer = vision + "transformer.layers.62.";
  CHECK(shapes.at(layer + "input_layernorm.bias") == Shape{1792});
  CHECK(shapes.at(layer + "post_attention_layernorm.weight") == Shape{1792});
  CHECK(shapes.at(layer + "attention.query_key_value.weight") == Shape{5376, 1792});
  CHECK(shapes.at(layer + "attention.query_key_value.bias") == Shape{5376});
  CHECK(shapes.at(layer + "attention.dense.bias") == Shape{1792});
  CHECK(shapes.at(layer + "mlp.fc1.weight") == Shape{15360, 1792});
  CHECK(shapes.at(layer + "mlp.fc2.weight") == Shape{1792, 15360});
}

TEST_CASE("checkpoint gives the tensors of all shards") {
  const TemporaryDirectory directory;
  CheckpointFiles files = SmallCheckpoint();
  files.Write(directory.path());
  const auto checkpoint = OpenDirectory(directory.path());
  REQUIRE(checkpoint.ok());
  (*checkpoint)->Prefetch();

  const TensorView& output = (*checkpoint)->Tensor(kOutput);
  CHECK(output.shape == std::vector<int64_t>{64, 16});
  CHECK(output.dtype == DType::kFloat32);
  CHECK(output.file == kShard2);
  CHECK(Bytes(output) == files.Find(kOutput).bytes);
  CHECK(Bytes((*checkpoint)->Tensor(kBoi)) == files.Find(kBoi).bytes);
  int64_t bytes = 0;
  for (const auto& [file, tensors] : files.shards) {
    for (const StoredTensor& tensor : tensors) bytes += tensor.bytes.size();
  }
  CHECK((*checkpoint)->total_bytes() == bytes);
}

TEST_CASE("checkpoint opens one file without an index") {
  const TemporaryDirectory directory;
  CheckpointFiles files = SingleFile();
  files.Write(directory.path());
  const auto checkpoint = OpenDirectory(directory.path());
  REQUIRE(checkpoint.ok());
  CHECK(Bytes((*checkpoint)->Tensor(kOutput)) == files.Find(kOutput).bytes);
}

TEST_CASE("checkpoint opens a text-only model, of bfloat16, without QKV bias") {
  const TemporaryDirectory directory;
  json config = SmallConfig(/*with_vision=*/false);
  config["torch_dtype"] = "bfloat16";
  config["add_qkv_bias"] = false;
  MakeCheckpoint(config).Write(directory.path());
  const auto checkpoint = OpenDirectory(directory.path());
  REQUIRE(checkpoint.ok());
  CHECK((*checkpoint)->Tensor(kOutput).dtype == DType::kBFloat16);
}

TEST_CASE("checkpoint ignores the rotary table that older files carry") {
  const TemporaryDirectory directory;
  CheckpointFiles files = SmallCheckpoint();
  const std::string name = "transformer.rotary_pos_emb.inv_freq";
  files.shards[kShard1].push_back({name, "BF16", {2}, "abcd"});
  files.index["weight_map"][name] = kShard1;
  files.Write(directory.path());
  const auto checkpoint = OpenDirectory(directory.path());
  REQUIRE(checkpoint.ok());
  const auto plain = [&] {
    const TemporaryDirectory other;
    SmallCheckpoint().Write(other.path());
    return (*OpenDirectory(other.path()))->total_bytes();
  };
  CHECK((*checkpoint)->total_bytes() == plain());
}

TEST_CASE("checkpoint follows a symbolic link, as download caches have them") {
  const TemporaryDirectory directory, blobs;
  CheckpointFiles files = SmallCheckpoint();
  files.Write(directory.path());
  const std::string shard = directory.path() + "/" + kShard1;
  std::filesystem::copy_file(shard, blobs.path() + "/0123abcd");
  std::filesystem::remove(shard);
  REQUIRE(::symlink((blobs.path() + "/0123abcd").c_str(), shard.c_str()) == 0);
  const auto checkpoint = OpenDirectory(directory.path());
  REQUIRE(checkpoint.ok());
  CHECK(Bytes((*checkpoint)->Tensor(kBoi)) == files.Find(kBoi).bytes);
}

TEST_CASE("checkpoint names a missing tensor and the shape it should have") {
  CheckpointFiles files = SmallCheckpoint();
  files.Erase(kOutput);
  CHECK(FaultOf(files) ==
        std::string(kShard2) + ": tensor '" + kOutput +
            "' is missing, expected it here, as model.safetensors.index.json says");
  files.index["weight_map"].erase(kOutput);
  CHECK(FaultOf(files) ==
        std::string(kIndex) + ": tensor '" + kOutput + "' is missing, expected [64, 16]");

  CheckpointFiles single = SingleFile();
  single.Erase(kBoi);
  CHECK(FaultOf(single) ==
        std::string("model.safetensors: tensor '") + kBoi + "' is missing, expected [1, 1, 16]");
}

TEST_CASE("checkpoint names an unexpected tensor") {
  CheckpointFiles files = SmallCheckpoint();
  files.shards[kShard1].push_back({"transformer.extra", "F32", {1}, "abcd"});
  CHECK(FaultOf(files) == std::string(kShard1) +
                              ": tensor 'transformer.extra' stands here, but "
                              "model.safetensors.index.json does not name it");
  files.index["weight_map"]["transformer.extra"] = kShard1;
  CHECK(FaultOf(files) == std::string(kShard1) +
                              ": tensor 'transformer.extra' is unexpected, expected only the "
                              "tensors of config.json's sizes");

  CheckpointFiles text_only = SmallCheckpoint();
  text_only.config.erase("vision_config");
  CHECK(FaultOf(text_only) == std::string(kShard2) + ": tensor '" + kBoi +
                                  "' is unexpected, expected only the tensors of config.json's "
                                  "sizes");
}

TEST_CASE("checkpoint names a tensor of a wrong shape") {
  CheckpointFiles files = SmallCheckpoint();
  files.Find(kOutput).shape = {16, 64};
  CHECK(FaultOf(files) ==
        std::string(kShard2) + ": tensor '" + kOutput + "' has shape [16, 64], expected [64, 16]");
  files.Find(kOutput).shape = {64, 16, 1};
  CHECK(FaultOf(files) == std::string(kShard2) + ": tensor '" + kOutput +
                              "' has shape [64, 16, 1], expected [64, 16]");
}

TEST_CASE("checkpoint names a tensor of a wrong type, among others of the right one too") {
  CheckpointFiles files = SmallCheckpoint();
  StoredTensor& output = files.Find(kOutput);
  output.dtype = "F16";
  output.bytes.resize(output.bytes.size() / 2);
  CHECK(FaultOf(files) == std::string(kShard2) + ": tensor '" + kOutput +
                              "' has type float16, expected float32, config.json's torch_dtype");
  output.dtype = "I16";
  CHECK(FaultOf(files) == std::string(kShard2) + ": tensor '" + kOutput +
                              "': dtype is \"I16\", expected F32, BF16 or F16");

  CheckpointFiles all = SmallCheckpoint();
  all.config["torch_dtype"] = "bfloat16";
  CHECK(FaultOf(all).find("has type float32, expected bfloat16") != std::string::npos);
}

TEST_CASE("checkpoint names a tensor that stands in another file than the index says") {
  CheckpointFiles files = SmallCheckpoint();
  files.index["weight_map"][kOutput] = kShard1;
  CHECK(FaultOf(files) == std::string(kShard2) + ": tensor '" + kOutput +
                              "' stands here, but model.safetensors.index.json says " + kShard1);

  CheckpointFiles twice = SmallCheckpoint();
  twice.shards[kShard1].push_back(twice.Find(kOutput));
  CHECK(FaultOf(twice) == std::string(kShard1) + ": tensor '" + kOutput +
                              "' stands here, but model.safetensors.index.json says " + kShard2);
}

TEST_CASE("checkpoint refuses a shard that is not a file of the directory") {
  const auto fault = [](const json& shard) {
    CheckpointFiles files = SmallCheckpoint();
    files.index["weight_map"][kBoi] = shard;
    return FaultOf(files);
  };
  const std::string tensor = std::string(kIndex) + ": tensor '" + kBoi + "': file is ";
  const std::string own = ", expected a .safetensors file of the model's own directory";
  CHECK(fault("../model.safetensors") == tensor + "'../model.safetensors'" + own);
  CHECK(fault("/etc/model.safetensors") == tensor + "'/etc/model.safetensors'" + own);
  CHECK(fault("a\\b.safetensors") == tensor + "'a\\\\b.safetensors'" + own);
  CHECK(fault(std::string("passwd\0.safetensors", 19)) ==
        tensor + "'passwd\\x00.safetensors'" + own);
  CHECK(fault("..") == tensor + "'..'" + own);
  CHECK(fault("") == tensor + "''" + own);
  CHECK(fault(7) == tensor + "7, expected a name");
}

TEST_CASE("checkpoint does not read pickle files") {
  CheckpointFiles indexed = SmallCheckpoint();
  indexed.index["weight_map"][kBoi] = "pytorch_model-00001-of-00002.bin";
  CHECK(FaultOf(indexed) == std::string(kIndex) + ": tensor '" + kBoi +
                                "': file is 'pytorch_model-00001-of-00002.bin': pickle files are "
                                "not read, expected safetensors");

  for (const std::string name : {"pytorch_model.bin", "model.pt", "model.PTH", "last.ckpt"}) {
    const TemporaryDirectory directory;
    CheckpointFiles files = SmallCheckpoint();
    files.shards.clear();
    files.index = nullptr;
    files.Write(directory.path());
    WriteFile(directory.path() + "/" + name, "\x80\x02");
    CHECK(OpenDirectory(directory.path()).status() ==
          absl::InvalidArgumentError(directory.path() + "/" + name +
                                     ": pickle files are not read, expected "
                                     "model.safetensors.index.json or model.safetensors"));
  }
}

TEST_CASE("checkpoint without weights, or without a shard, is NOT_FOUND") {
  CheckpointFiles files = SmallCheckpoint();
  files.shards.erase(kShard2);
  CHECK(FaultOf(files, absl::StatusCode::kNotFound) ==
        std::string(kShard2) + ": No such file or directory");
  files.shards.clear();
  files.index = nullptr;
  const TemporaryDirectory directory;
  files.Write(directory.path());
  CHECK(OpenDirectory(directory.path()).status() ==
        absl::NotFoundError(directory.path() + ": no weights, expected " + kIndex +
                            " or model.safetensors"));
}

TEST_CASE("checkpoint refuses a broken index") {
  const auto fault = [](const json& index) {
    CheckpointFiles files = SmallCheckpoint();
    files.index = index;
    return FaultOf(files);
  };
  CHECK(fault(json::array()) == std::string(kIndex) + ": expected a JSON object");
  CHECK(fault(json::object()) ==
        std::string(kIndex) + ": weight_map is missing, expected an object");
  CHECK(fault({{"weight_map", 3}}) ==
        std::string(kIndex) + ": weight_map is 3, expected an object");
  CHECK(fault({{"weight_map", json::object()}}) ==
        std::string(kIndex) +
            ": tensor 'transformer.vision.patch_embedding.proj.weight' is missing, expected "
            "[16, 3, 14, 14]");
}

TEST_CASE("checkpoint names the shard that was cut") {
  const TemporaryDirectory directory;
  SmallCheckpoint().Write(directory.path());
  const std::string shard = directory.path() + "/" + kShard2;
  std::filesystem::resize_file(shard, std::filesystem::file_size(shard) - 1);
  const absl::Status status = OpenDirectory(directory.path()).status();
  REQUIRE(absl::IsInvalidArgument(status));
  CHECK(std::string(status.message()).rfind(shard + ": tensor '", 0) == 0);
}

}  // namespace
}  // namespace glimpse
