// The tensors of a checkpoint directory: model.safetensors.index.json and its shards, or one
// model.safetensors. Everything is checked at Open, before any device memory is taken: afterwards
// each tensor that the config asks for is there, once, with its shape and the config's type.
//
//   GLIMPSE_ASSIGN_OR_RETURN(ModelConfig config, ReadModelConfig(dir));
//   GLIMPSE_ASSIGN_OR_RETURN(auto checkpoint, Checkpoint::Open(dir, config));
//   const TensorView& weight = checkpoint->Tensor("transformer.output_layer.weight");
//
// Any thread may read an open checkpoint. It owns the mappings that the views point into; see
// safetensors.h for what happens when a file is cut under it.
#ifndef GLIMPSE_ENGINE_CHECKPOINT_H_
#define GLIMPSE_ENGINE_CHECKPOINT_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/config.h"
#include "engine/safetensors.h"

namespace glimpse {

struct TensorSpec {
  std::string name;
  std::vector<int64_t> shape;
};

// All tensors of a model of these sizes, in the order of the forward. Their type is config.dtype.
std::vector<TensorSpec> ExpectedTensors(const ModelConfig& config);

class Checkpoint {
 public:
  // `config` must come from ReadModelConfig of the same directory.
  // NOT_FOUND: no weight file, or not the shard that the index names. INVALID_ARGUMENT: a broken
  // or pickled file; a tensor that is missing, unexpected, in another file than the index says, or
  // of the wrong shape or type. The message names file and tensor, and what was expected.
  static absl::StatusOr<std::unique_ptr<Checkpoint>> Open(const std::string& model_dir,
                                                          const ModelConfig& config);

  // `name` must be one of ExpectedTensors(config).
  const TensorView& Tensor(std::string_view name) const;

  // Bytes of all expected tensors.
  int64_t total_bytes() const { return total_bytes_; }

  // Asks the kernel to read all files ahead; call it before loading every tensor.
  void Prefetch() const;

 private:
  explicit Checkpoint(std::string model_dir) : model_dir_(std::move(model_dir)) {}
  absl::Status AddFile(const std::string& name);
  // `shard_of`: what the index says, tensor -> file name.
  absl::Status CheckIndex(const std::map<std::string, std::string>& shard_of) const;
  // `listing`: the file to name where a tensor is missing.
  absl::Status CheckTensors(const ModelConfig& config, const std::string& listing);

  const std::string model_dir_;
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::map<std::string, const TensorView*, std::less<>> tensors_;  // point into files_
  int64_t total_bytes_ = 0;
};

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_CHECKPOINT_H_
