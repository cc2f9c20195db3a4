// The least time that a card's memory and tensor cores allow a step, from the model's sizes alone:
// every weight and every key and value that the step needs is read once, every product is made at
// the speed of a large one.
#ifndef GLIMPSE_BENCH_GRID_WALL_H_
#define GLIMPSE_BENCH_GRID_WALL_H_

#include "bench/grid/batch.h"
#include "bench/kernels/harness.h"
#include "engine/config.h"

namespace glimpse::bench {

// Milliseconds for bf16. `context`: KV rows of a sequence, its new ones included.
double DecodeWall(const LanguageConfig& config, int batch, int context, const Walls& walls);
double PrefillWall(const LanguageConfig& config, int batch, int context, const Walls& walls);
double VisionWall(const ModelConfig& config, int pictures, const Walls& walls);

}  // namespace glimpse::bench

#endif  // GLIMPSE_BENCH_GRID_WALL_H_
