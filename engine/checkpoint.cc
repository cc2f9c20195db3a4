#include "engine/checkpoint.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "engine/strict_json.h"
#include "preprocess/check.h"
#include "preprocess/status_macros.h"

namespace glimpse {
namespace {

using nlohmann::json;

constexpr char kIndexFile[] = "model.safetensors.index.json";
constexpr char kSingleFile[] = "model.safetensors";
constexpr char kUnusedTensor[] = "transformer.rotary_pos_emb.inv_freq";  // follows from the config

using ShardOf = std::map<std::string, std::string>;

// The table of a model's tensors.
class SpecList {
 public:
  void Add(std::string name, std::vector<int64_t> shape) {
    specs_.push_back({std::move(name), std::move(shape)});
  }

  // A linear layer or a norm with a bias of its weight's first size.
  void AddWithBias(const std::string& name, std::vector<int64_t> shape) {
    const int64_t rows = shape[0];
    Add(name + ".weight", std::move(shape));
    Add(name + ".bias", {rows});
  }

  std::vector<TensorSpec> Take() { return std::move(specs_); }

 private:
  std::vector<TensorSpec> specs_;
};

void AddVision(const VisionConfig& config, const LanguageConfig& language, SpecList* list) {
  const int64_t width = config.hidden_size, inner = config.intermediate_size;
  const int64_t patch = config.patch_size;
  const int64_t hidden = language.hidden_size, ffn = language.ffn_hidden_size;
  const std::string vision = "transformer.vision.";
  list->AddWithBias(vision + "patch_embedding.proj", {width, 3, patch, patch});
  list->Add(vision + "patch_embedding.cls_embedding", {1, width});
  list->Add(vision + "patch_embedding.position_embedding.weight", {config.num_positions, width});
  for (int i = 0; i < config.num_layers; ++i) {
    const std::string layer = absl::StrCat(vision, "transformer.layers.", i, ".");
    list->AddWithBias(layer + "input_layernorm", {width});
    list->AddWithBias(layer + "attention.query_key_value", {3 * width, width});
    list->AddWithBias(layer + "attention.dense", {width, width});
    list->AddWithBias(layer + "mlp.fc1", {inner, width});
    list->AddWithBias(layer + "mlp.fc2", {width, inner});
    list->AddWithBias(layer + "post_attention_layernorm", {width});
  }
  list->AddWithBias(vision + "conv", {hidden, width, 2, 2});
  list->Add(vision + "linear_proj.linear_proj.weight", {hidden, hidden});
  list->AddWithBias(vision + "linear_proj.norm1", {hidden});
  list->Add(vision + "linear_proj.gate_proj.weight", {ffn, hidden});
  list->Add(vision + "linear_proj.dense_h_to_4h.weight", {ffn, hidden});
  list->Add(vision + "linear_proj.dense_4h_to_h.weight", {hidden, ffn});
  list->Add(vision + "boi", {1, 1, hidden});
  list->Add(vision + "eoi", {1, 1, hidden});
}

void AddLanguage(const LanguageConfig& config, SpecList* list) {
  const int64_t hidden = config.hidden_size, ffn = config.ffn_hidden_size;
  list->Add("transformer.embedding.word_embeddings.weight", {config.vocabulary_size, hidden});
  for (int i = 0; i < config.num_layers; ++i) {
    const std::string layer = absl::StrCat("transformer.encoder.layers.", i, ".");
    list->Add(layer + "input_layernorm.weight", {hidden});
    list->Add(layer + "self_attention.query_key_value.weight", {config.QkvSize(), hidden});
    if (config.qkv_bias) {
      list->Add(layer + "self_attention.query_key_value.bias", {config.QkvSize()});
    }
    list->Add(layer + "self_attention.dense.weight", {hidden, config.QuerySize()});
    list->Add(layer + "post_attention_layernorm.weight", {hidden});
    list->Add(layer + "mlp.dense_h_to_4h.weight", {2 * ffn, hidden});
    list->Add(layer + "mlp.dense_4h_to_h.weight", {hidden, ffn});
  }
  list->Add("transformer.encoder.final_layernorm.weight", {hidden});
  list->Add("transformer.output_layer.weight", {config.vocabulary_size, hidden});
}

std::string PathIn(const std::string& directory, const std::string& file) {
  return std::filesystem::path(directory) / file;
}

bool IsPickle(absl::string_view name) {
  for (absl::string_view suffix : {".bin", ".pt", ".pth", ".ckpt", ".pkl"}) {
    if (absl::EndsWithIgnoreCase(name, suffix)) return true;
  }
  return false;
}

// A shard is a file of the directory itself. It may be a symbolic link, as in a download cache
// that keeps the files elsewhere: the operator made it, the index did not.
absl::Status CheckShardName(const json& shard) {
  if (!shard.is_string()) {
    return absl::InvalidArgumentError(absl::StrCat("file is ", Shown(shard), ", expected a name"));
  }
  const std::string& name = shard.get_ref<const std::string&>();
  if (IsPickle(name)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "file is ", Quoted(name), ": pickle files are not read, expected safetensors"));
  }
  if (name.find_first_of("/\\\0", 0, 3) != std::string::npos ||
      !absl::EndsWith(name, ".safetensors")) {
    return absl::InvalidArgumentError(absl::StrCat(
        "file is ", Quoted(name), ", expected a .safetensors file of the model's own directory"));
  }
  return absl::OkStatus();
}

absl::StatusOr<ShardOf> ReadIndex(const std::string& path) {
  GLIMPSE_ASSIGN_OR_RETURN(const json index, ReadStrictJson(path));
  const auto weight_map = index.find("weight_map");
  if (weight_map == index.end() || !weight_map->is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": weight_map is ", weight_map == index.end() ? "missing" : Shown(*weight_map),
        ", expected an object"));
  }
  ShardOf shard_of;
  for (const auto& [tensor, shard] : weight_map->items()) {
    const absl::Status valid = CheckShardName(shard);
    if (!valid.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": tensor ", Quoted(tensor), ": ", valid.message()));
    }
    shard_of.emplace(tensor, shard.get<std::string>());
  }
  return shard_of;
}

// Why a directory holds neither an index nor a single file.
absl::Status NoWeights(const std::string& directory) {
  std::set<std::string> pickles;  // sorted: the message must not depend on the file system
  std::error_code error;
  for (std::filesystem::directory_iterator it(directory, error), end; !error && it != end;
       it.increment(error)) {
    const std::string name = it->path().filename();
    if (IsPickle(name)) pickles.insert(name);
  }
  const std::string expected = absl::StrCat("expected ", kIndexFile, " or ", kSingleFile);
  if (pickles.empty()) {
    return absl::NotFoundError(absl::StrCat(directory, ": no weights, ", expected));
  }
  return absl::InvalidArgumentError(
      absl::StrCat(PathIn(directory, *pickles.begin()), ": pickle files are not read, ", expected));
}

absl::Status Misplaced(const std::string& path, const std::string& tensor,
                       absl::string_view index_says) {
  return absl::InvalidArgumentError(absl::StrCat(
      path, ": tensor ", Quoted(tensor), " stands here, but ", kIndexFile, " ", index_says));
}

absl::Status WrongTensor(const std::string& path, absl::string_view tensor, absl::string_view found,
                         absl::string_view expected) {
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": tensor ", Quoted(tensor), " ", found, ", expected ", expected));
}

}  // namespace

std::vector<TensorSpec> ExpectedTensors(const ModelConfig& config) {
  SpecList list;
  if (config.vision) AddVision(*config.vision, config.language, &list);
  AddLanguage(config.language, &list);
  return list.Take();
}

absl::StatusOr<std::unique_ptr<Checkpoint>> Checkpoint::Open(const std::string& model_dir,
                                                             const ModelConfig& config) {
  std::unique_ptr<Checkpoint> checkpoint(new Checkpoint(model_dir));
  const std::string index = PathIn(model_dir, kIndexFile);
  const absl::StatusOr<ShardOf> shard_of = ReadIndex(index);
  if (absl::IsNotFound(shard_of.status())) {
    const absl::Status single = checkpoint->AddFile(kSingleFile);
    GLIMPSE_RETURN_IF_ERROR(absl::IsNotFound(single) ? NoWeights(model_dir) : single);
    GLIMPSE_RETURN_IF_ERROR(checkpoint->CheckTensors(config, PathIn(model_dir, kSingleFile)));
    return checkpoint;
  }
  GLIMPSE_RETURN_IF_ERROR(shard_of.status());
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : *shard_of) shards.insert(shard);
  for (const std::string& shard : shards) GLIMPSE_RETURN_IF_ERROR(checkpoint->AddFile(shard));
  GLIMPSE_RETURN_IF_ERROR(checkpoint->CheckIndex(*shard_of));
  GLIMPSE_RETURN_IF_ERROR(checkpoint->CheckTensors(config, index));
  return checkpoint;
}

absl::Status Checkpoint::AddFile(const std::string& name) {
  GLIMPSE_ASSIGN_OR_RETURN(std::unique_ptr<SafetensorsFile> file,
                           SafetensorsFile::Open(PathIn(model_dir_, name)));
  for (const auto& [tensor, view] : file->tensors()) tensors_.emplace(tensor, &view);
  files_.push_back(std::move(file));
  return absl::OkStatus();
}

absl::Status Checkpoint::CheckIndex(const ShardOf& shard_of) const {
  for (const std::unique_ptr<SafetensorsFile>& file : files_) {
    for (const auto& [name, tensor] : file->tensors()) {
      const std::string path = PathIn(model_dir_, tensor.file);
      const auto said = shard_of.find(name);
      if (said == shard_of.end()) return Misplaced(path, name, "does not name it");
      if (said->second != tensor.file) return Misplaced(path, name, "says " + said->second);
    }
  }
  for (const auto& [tensor, shard] : shard_of) {
    if (!tensors_.contains(tensor)) {
      return WrongTensor(PathIn(model_dir_, shard), tensor, "is missing",
                         absl::StrCat("it here, as ", kIndexFile, " says"));
    }
  }
  return absl::OkStatus();
}

absl::Status Checkpoint::CheckTensors(const ModelConfig& config, const std::string& listing) {
  std::set<std::string> expected = {kUnusedTensor};
  for (const TensorSpec& spec : ExpectedTensors(config)) {
    expected.insert(spec.name);
    const auto found = tensors_.find(spec.name);
    if (found == tensors_.end()) {
      return WrongTensor(listing, spec.name, "is missing", ShapeString(spec.shape));
    }
    const TensorView& tensor = *found->second;
    const std::string path = PathIn(model_dir_, tensor.file);
    if (tensor.shape != spec.shape) {
      return WrongTensor(path, spec.name, "has shape " + ShapeString(tensor.shape),
                         ShapeString(spec.shape));
    }
    if (DTypeName(tensor.dtype) != config.dtype) {
      return WrongTensor(path, spec.name, absl::StrCat("has type ", DTypeName(tensor.dtype)),
                         config.dtype + ", config.json's torch_dtype");
    }
    total_bytes_ += tensor.bytes.size();
  }
  for (const auto& [name, tensor] : tensors_) {
    if (!expected.contains(name)) {
      return WrongTensor(PathIn(model_dir_, tensor->file), name, "is unexpected",
                         "only the tensors of config.json's sizes");
    }
  }
  return absl::OkStatus();
}

const TensorView& Checkpoint::Tensor(std::string_view name) const {
  const auto found = tensors_.find(name);
  GLIMPSE_CHECK(found != tensors_.end(), std::string(name).c_str());
  return *found->second;
}

void Checkpoint::Prefetch() const {
  for (const std::unique_ptr<SafetensorsFile>& file : files_) file->Prefetch();
}

}  // namespace glimpse
