// An engine that runs on the project's GPU kernels, on a checkpoint small in everything but what
// the kernels fix: heads of 128 channels.
#ifndef GLIMPSE_TESTS_GPU_GPU_FIXTURE_H_
#define GLIMPSE_TESTS_GPU_GPU_FIXTURE_H_

#include <memory>
#include <string>

#include "engine/engine.h"
#include "tests/engine/checkpoint_writer.h"
#include "tests/engine/serving_fixture.h"
#include "tests/temporary_directory.h"

namespace glimpse {

CheckpointFiles WideCheckpoint();

// bfloat16 on CUDA, 20 slots, graphs captured at first use.
EngineOptions WideOptions(const std::string& model_dir);

std::unique_ptr<Engine> CreateEngine(const EngineOptions& options);

}  // namespace glimpse

#endif  // GLIMPSE_TESTS_GPU_GPU_FIXTURE_H_
