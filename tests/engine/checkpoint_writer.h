// Small checkpoints for tests: valid as they come; a test changes a field, a tensor or a byte
// before it writes them.
//
//   TemporaryDirectory directory;
//   CheckpointFiles files = SmallCheckpoint();
//   files.Find("transformer.output_layer.weight").shape = {1, 2};
//   files.Write(directory.path());
#ifndef GLIMPSE_TESTS_ENGINE_CHECKPOINT_WRITER_H_
#define GLIMPSE_TESTS_ENGINE_CHECKPOINT_WRITER_H_

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/temporary_directory.h"

namespace glimpse {

std::string ReadWholeFile(const std::string& path);

struct StoredTensor {
  std::string name;
  std::string dtype;  // as in the header: F32, BF16, ...
  std::vector<int64_t> shape;
  std::string bytes;
};

// The header entries of these tensors, one after the other without gaps.
nlohmann::ordered_json SafetensorsHeader(const std::vector<StoredTensor>& tensors);

// Length, header padded with spaces to a multiple of 8, data.
std::string SafetensorsBytes(const std::string& header, const std::string& data);
std::string SafetensorsBytes(const std::vector<StoredTensor>& tensors);

struct CheckpointFiles {
  nlohmann::json config;      // config.json
  nlohmann::json generation;  // generation_config.json
  nlohmann::json index;       // model.safetensors.index.json; null: not written
  std::map<std::string, std::vector<StoredTensor>> shards;  // by file name

  StoredTensor& Find(const std::string& name);
  void Erase(const std::string& name);  // from its shard; the index stays as it is
  void Write(const std::string& directory) const;
};

// config.json of a small model: 2 + 2 layers, heads of 8 channels, 4 x 4 patches of a 56 x 56
// picture.
nlohmann::json SmallConfig(bool with_vision = true);

// Fills the index and two shards with random weights (norms near 1, the same at each call) for a
// config.json of type float32 or bfloat16.
CheckpointFiles MakeCheckpoint(const nlohmann::json& config);

inline CheckpointFiles SmallCheckpoint() { return MakeCheckpoint(SmallConfig()); }

}  // namespace glimpse

#endif  // GLIMPSE_TESTS_ENGINE_CHECKPOINT_WRITER_H_
