// A damaged checkpoint is refused or is the same checkpoint: random flips and cuts, always the same
// ones. Worth most under the address sanitizer.
#include <catch2/catch.hpp>
#include <random>

#include "engine/checkpoint.h"
#include "tests/engine/checkpoint_writer.h"

namespace glimpse {
namespace {

constexpr char kShard1[] = "model-00001-of-00002.safetensors";
constexpr char kShard2[] = "model-00002-of-00002.safetensors";
constexpr char kIndex[] = "model.safetensors.index.json";

std::string Bytes(const TensorView& tensor) {
  return std::string(tensor.bytes.begin(), tensor.bytes.end());
}

bool SameTensors(const Checkpoint& checkpoint, const CheckpointFiles& files) {
  for (const auto& [file, tensors] : files.shards) {
    for (const StoredTensor& tensor : tensors) {
      if (Bytes(checkpoint.Tensor(tensor.name)) != tensor.bytes) return false;
    }
  }
  return true;
}

// Flips bits or cuts the file; `size`: how many of its first bytes are flipped.
std::string Mutated(std::string bytes, size_t size, std::mt19937* random) {
  for (unsigned flips = 1 + (*random)() % 2; flips > 0; --flips) {
    bytes[(*random)() % size] ^= static_cast<char>(1u << (*random)() % 8);
  }
  if ((*random)() % 16 == 0) bytes.resize((*random)() % bytes.size());
  return bytes;
}

TEST_CASE("a mutated checkpoint is refused or gives the same tensors") {
  const TemporaryDirectory directory;
  const CheckpointFiles files = SmallCheckpoint();
  files.Write(directory.path());
  const auto model = ReadModelConfig(directory.path());
  REQUIRE(model.ok());
  std::mt19937 random(20260102);
  int refused = 0;
  for (const char* name : {kShard1, kShard2, kIndex}) {
    const std::string path = directory.path() + "/" + name;
    const std::string whole = ReadWholeFile(path);
    const size_t size = name == kIndex ? whole.size() : whole.find("}}") + 2;
    for (int round = 0; round < 1500; ++round) {
      WriteFile(path, Mutated(whole, size, &random));
      const auto checkpoint = Checkpoint::Open(directory.path(), *model);
      if (!checkpoint.ok()) {
        ++refused;
        REQUIRE((absl::IsInvalidArgument(checkpoint.status()) ||
                 absl::IsNotFound(checkpoint.status())));
        continue;
      }
      REQUIRE(SameTensors(**checkpoint, files));
    }
    WriteFile(path, whole);
  }
  CHECK(refused > 4000);
  CHECK(Checkpoint::Open(directory.path(), *model).ok());
}

TEST_CASE("a mutated config.json is refused or gives sizes within their bounds") {
  const TemporaryDirectory directory;
  SmallCheckpoint().Write(directory.path());
  const std::string path = directory.path() + "/config.json";
  const std::string whole = ReadWholeFile(path);
  std::mt19937 random(20260103);
  for (int round = 0; round < 3000; ++round) {
    WriteFile(path, Mutated(whole, whole.size(), &random));
    const auto config = ReadModelConfig(directory.path());
    if (!config.ok()) {
      REQUIRE(absl::IsInvalidArgument(config.status()));
      continue;
    }
    REQUIRE(config->language.num_heads % config->language.num_kv_heads == 0);
    for (const TensorSpec& spec : ExpectedTensors(*config)) REQUIRE(NumElements(spec.shape) > 0);
  }
}

}  // namespace
}  // namespace glimpse
