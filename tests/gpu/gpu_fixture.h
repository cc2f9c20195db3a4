// An engine that runs on the project's GPU kernels, on a checkpoint small in everything but what
// the kernels fix: heads of 128 channels.
#ifndef GLIMPSE_TESTS_GPU_GPU_FIXTURE_H_
#define GLIMPSE_TESTS_GPU_GPU_FIXTURE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/engine.h"
#include "tests/engine/checkpoint_writer.h"
#include "tests/temporary_directory.h"

namespace glimpse {

CheckpointFiles WideCheckpoint();

// bfloat16 on CUDA, 20 slots, graphs captured at first use.
EngineOptions WideOptions(const std::string& model_dir);

std::unique_ptr<Engine> CreateEngine(const EngineOptions& options);

struct Prompt {
  int number = 0;  // what it is made of
  int length = 0;
  bool has_picture = false;
  SamplingParams sampling;
  int answer = 24;
  // The client wants no more, or has left, once it has so many tokens; 0: never.
  int stops_after = 0;
  int gone_after = 0;
};

// A mix of lengths, pictures and ways to sample.
std::vector<Prompt> MixedPrompts();

struct Answer {
  absl::Status status;
  std::vector<SampledToken> tokens;

  std::vector<int32_t> Ids() const;
};

// Serves all prompts together, through a scheduler.
std::vector<Answer> Serve(Engine* engine, const EngineOptions& options,
                          const std::vector<Prompt>& prompts);

std::vector<std::vector<int32_t>> Ids(const std::vector<Answer>& answers);

}  // namespace glimpse

#endif  // GLIMPSE_TESTS_GPU_GPU_FIXTURE_H_
