// glimpse-grid: the engine's steps over a grid of shapes, eager and from CUDA graphs, beside the
// least time that the card allows. The default is GLM-4V-9B's sizes with random weights; --help
// lists what can be chosen.
#include <c10/cuda/CUDACachingAllocator.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "bench/grid/batch.h"
#include "bench/grid/measure.h"
#include "bench/grid/table.h"
#include "bench/kernels/harness.h"
#include "bench/run_info.h"
#include "engine/config.h"
#include "engine/engine.h"
#include "engine/kernels/cuda_error.h"
#include "preprocess/status_macros.h"

using Words = std::vector<std::string>;

ABSL_FLAG(std::string, model, "bench/glm-4v-9b",
          "directory of a checkpoint, or of its config.json");
ABSL_FLAG(std::string, load_format, "dummy",
          "dummy: random weights of config.json's sizes; auto: the checkpoint's");
ABSL_FLAG(Words, modes, Words({"eager", "graph"}),
          "eager; graph; library: eager with libtorch's operators in place of our own kernels");
ABSL_FLAG(Words, batches, Words({"1", "2", "4", "8", "16", "64"}), "sequences at the same time");
ABSL_FLAG(Words, texts, Words({"64", "128", "256", "512", "1800"}),
          "tokens of a sequence beside its picture's");
ABSL_FLAG(Words, pictures, Words({"0", "1"}), "pictures of a sequence: 0, 1");
ABSL_FLAG(int, warm_ups, 10, "runs before those that count");
ABSL_FLAG(int, runs, 50, "runs that count");
ABSL_FLAG(
    absl::Duration, budget, absl::Seconds(5),
    "time of a stage's runs in one cell: long ones are repeated less often, 3 times at least");
ABSL_FLAG(std::string, csv, "", "file that takes the table as comma-separated values");

namespace glimpse::bench {
namespace {

absl::StatusOr<std::vector<int>> Numbers(const Words& words) {
  std::vector<int> numbers;
  for (const std::string& word : words) {
    if (!absl::SimpleAtoi(word, &numbers.emplace_back()) || numbers.back() < 0) {
      return absl::InvalidArgumentError(word + " is not a number from 0");
    }
  }
  return numbers;
}

absl::StatusOr<std::vector<Shape>> Shapes() {
  GLIMPSE_ASSIGN_OR_RETURN(const std::vector<int> batches, Numbers(absl::GetFlag(FLAGS_batches)));
  GLIMPSE_ASSIGN_OR_RETURN(const std::vector<int> texts, Numbers(absl::GetFlag(FLAGS_texts)));
  GLIMPSE_ASSIGN_OR_RETURN(const std::vector<int> pictures, Numbers(absl::GetFlag(FLAGS_pictures)));
  std::vector<Shape> shapes;
  for (int picture : pictures) {
    for (int batch : batches) {
      for (int text : texts) shapes.push_back({batch, text, picture > 0});
    }
  }
  if (shapes.empty()) return absl::InvalidArgumentError("no shape to measure");
  return shapes;
}

// Room for the largest shape, and the same for every mode.
absl::StatusOr<EngineOptions> Options(const std::string& mode, const std::vector<Shape>& shapes,
                                      const ModelConfig& config) {
  if (mode != "eager" && mode != "graph" && mode != "library") {
    return absl::InvalidArgumentError(mode + " is not eager, graph or library");
  }
  const std::string load_format = absl::GetFlag(FLAGS_load_format);
  if (load_format != "dummy" && load_format != "auto") {
    return absl::InvalidArgumentError(load_format + " is not dummy or auto");
  }
  EngineOptions options;
  options.graphs = mode == "graph" ? "on" : "off";
  options.capture = "lazy";  // what the shapes need, in their warm-ups
  options.kernels = mode == "library" ? "off" : "auto";
  options.model_dir = absl::GetFlag(FLAGS_model);
  options.load_format = load_format == "dummy" ? LoadFormat::kDummy : LoadFormat::kAuto;
  options.device = "cuda";
  options.max_batch_size = 1;
  for (const Shape& shape : shapes) {
    const int image_rows = shape.picture && config.vision ? config.vision->Rows() : 0;
    options.max_batch_size = std::max(options.max_batch_size, shape.batch);
    options.max_context = std::max(options.max_context, shape.text + image_rows + 1);
  }
  return options;
}

CellMemory MemoryNow() {
  CellMemory memory;
  memory.peak_bytes = c10::cuda::CUDACachingAllocator::getDeviceStats(0).allocated_bytes[0].peak;
  size_t free = 0, total = 0;
  CheckCuda(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  memory.device_bytes = static_cast<int64_t>(total - free);
  return memory;
}

std::string Describe(const GraphStats& stats) {
  int64_t replays = 0;
  for (const auto& [key, count] : stats.replays) replays += count;
  std::string text = absl::StrFormat("%d captures, %d replays", stats.captures, replays);
  for (const auto& [key, count] : stats.eager_steps) {
    const char* kind = key.first == StepKind::kVision    ? "vision"
                       : key.first == StepKind::kPrefill ? "prefill"
                                                         : "decode";
    absl::StrAppendFormat(&text, ", %d %s steps without a graph (%s)", count, kind, key.second);
  }
  return text;
}

absl::Status RunMode(const std::string& mode, const std::vector<Shape>& shapes,
                     const EngineOptions& options, Table* table) {
  const absl::Time start = absl::Now();
  GLIMPSE_ASSIGN_OR_RETURN(std::unique_ptr<Engine> engine, Engine::Create(options));
  table->Note(absl::StrFormat("%s: engine made in %.1f s", mode,
                              absl::ToDoubleSeconds(absl::Now() - start)));
  const Effort effort{absl::GetFlag(FLAGS_warm_ups), absl::GetFlag(FLAGS_runs),
                      absl::GetFlag(FLAGS_budget)};
  for (const Shape& shape : shapes) {
    GLIMPSE_RETURN_IF_ERROR(Batch::Check(shape, engine->limits()));
    const Batch batch(shape, engine->limits());
    c10::cuda::CUDACachingAllocator::resetPeakStats(0);
    GLIMPSE_ASSIGN_OR_RETURN(const std::vector<Stage> stages, Measure(*engine, batch, effort));
    const CellMemory memory = MemoryNow();
    for (const Stage& stage : stages) table->Add(mode, shape, batch.context(), stage, memory);
  }
  table->Note(mode + ": GiB: " + engine->memory().DebugString());
  table->Note(mode + ": " + Describe(engine->graph_stats()));
  return absl::OkStatus();
}

absl::Status Run(std::ostream* csv) {
  GLIMPSE_ASSIGN_OR_RETURN(const std::vector<Shape> shapes, Shapes());
  GLIMPSE_ASSIGN_OR_RETURN(const ModelConfig config, ReadModelConfig(absl::GetFlag(FLAGS_model)));
  cudaStream_t stream = nullptr;
  CheckCuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
  const Walls walls = MeasureWalls(stream);
  CheckCuda(cudaStreamDestroy(stream), "cudaStreamDestroy");
  const std::string head = absl::StrFormat(
      "%s# model: %s, walls: read %.0f GB/s, bf16 product of 8192 cubed %.0f TFLOP/s\n",
      RunInfo("# "), absl::GetFlag(FLAGS_model), walls.read_gb_s, walls.product_tflop_s);
  Table table(config, walls, head, csv);
  for (const std::string& mode : absl::GetFlag(FLAGS_modes)) {
    GLIMPSE_ASSIGN_OR_RETURN(const EngineOptions options, Options(mode, shapes, config));
    GLIMPSE_RETURN_IF_ERROR(RunMode(mode, shapes, options, &table));
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace glimpse::bench

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("times the engine's steps on this machine's GPU");
  absl::ParseCommandLine(argc, argv);
  const std::string path = absl::GetFlag(FLAGS_csv);
  std::ofstream csv(path.empty() ? "/dev/null" : path);
  absl::Status status;
  try {
    status = glimpse::bench::Run(&csv);
  } catch (const std::exception& error) {
    status = absl::InternalError(error.what());
  }
  csv.close();
  if (status.ok() && !csv) status = absl::UnavailableError(path + " could not be written");
  if (!status.ok()) std::cerr << "glimpse-grid: " << status << "\n";
  return status.ok() ? 0 : 1;
}
