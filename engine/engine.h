// The model on one device: runs StepPlans. The only place where libtorch's and CUDA's errors become
// absl::Status.
//
//   GLIMPSE_ASSIGN_OR_RETURN(std::unique_ptr<Engine> engine, Engine::Create(options));
//   absl::Status launched = engine->Launch(plan);
//   absl::StatusOr<StepOutput> output = engine->Finish();  // if it was launched
//
// `Create` may run on any thread; after that the serving thread alone calls, but for limits() and
// info().
#ifndef GLIMPSE_ENGINE_ENGINE_H_
#define GLIMPSE_ENGINE_ENGINE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/schedule/bucket_table.h"
#include "engine/schedule/model_limits.h"
#include "engine/schedule/step_plan.h"
#include "engine/step_stats.h"

namespace glimpse {

enum class LoadFormat {
  kAuto,   // the checkpoint's tensors
  kDummy,  // config.json's sizes with random weights: for speed work, without a checkpoint's 27 GB
};

struct EngineOptions {
  std::string model_dir;
  LoadFormat load_format = LoadFormat::kAuto;
  std::string device = "auto";  // auto | cpu | cuda; auto takes CUDA where there is a device
  std::string dtype = "auto";   // auto | float32 | bfloat16 | float16; auto: float32 on a CPU,
                                // config.json's on a GPU
  int max_batch_size = 64;      // slots
  int max_context = 0;          // KV rows a sequence; 0: config.json's seq_length
  // 0: as much as all slots at max_context need, but at most 1 GiB or half of the free memory on a
  // CPU, and on a GPU what weights, buffers and the largest steps leave free, less a margin. If
  // that is less than one sequence at max_context needs, limits().max_context is what fits.
  int64_t kv_cache_bytes = 0;

  // For a GPU that the project has kernels for (Hopper, bfloat16); elsewhere they change nothing.
  std::string kernels = "auto";   // auto | off: libtorch alone, as on any other device
  std::string graphs = "on";      // on | off, and
  std::string capture = "eager";  // eager | lazy | a list: graph_policy.h

  // As the scheduler's.
  BucketTable buckets;            // the sizes that plans are padded to
  int max_prefill_tokens = 2048;  // tokens of a prefill plan, at most
  int max_vision_rows = 4;        // pictures of a vision plan, at most

  // Told now and then while weights load in Create: bytes done and bytes in all. May be empty.
  std::function<void(int64_t done, int64_t total)> progress;
};

// What the checkpoint says of itself.
struct ModelInfo {
  std::string name;  // the directory's last component
  std::string device;
  std::string dtype;
  std::string quantization = "none";
  std::string execution;  // what runs the steps, and why not the project's kernels, for the log
  int64_t parameters = 0;
  int64_t weight_bytes = 0;
  int64_t kv_bytes = 0;
  SamplingParams default_sampling;  // generation_config.json; greedy if it says do_sample false
};

class Engine : public StepRunner {
 public:
  // NOT_FOUND / INVALID_ARGUMENT: a missing or broken checkpoint, with file and tensor;
  // RESOURCE_EXHAUSTED: memory, with what was asked and what is free; FAILED_PRECONDITION: no such
  // device.
  static absl::StatusOr<std::unique_ptr<Engine>> Create(const EngineOptions& options);
  ~Engine() override;

  // INVALID_ARGUMENT: more tokens than max_prefill_tokens; RESOURCE_EXHAUSTED: out of memory in
  // this step; INTERNAL: anything else that the device or library reported.
  absl::Status Launch(const StepPlan& plan) override;
  absl::StatusOr<StepOutput> Finish() override;
  int depth() const override;
  bool Upkeep() override;
  // After the device has failed for good: Launch, Finish, Logits and Reload return INTERNAL at
  // once.
  bool broken() const override;

  // Runs a prefill or decode plan, but returns the logits, [tokens of all real rows, vocabulary]
  // float32, and samples nothing. For inspection and comparison with a reference.
  absl::StatusOr<std::vector<float>> Logits(const StepPlan& plan);

  // Loads the checkpoint anew, after its files were replaced by others of the same config.json, and
  // records the graphs again. No sequence may run. INVALID_ARGUMENT, NOT_FOUND: a missing or broken
  // checkpoint, found before anything is given up. Whatever fails later leaves an engine that runs
  // nothing until a Reload succeeds: FAILED_PRECONDITION.
  absl::Status Reload();

  GraphStats graph_stats() const;
  MemoryUse memory() const;

  const ModelLimits& limits() const { return limits_; }
  const ModelInfo& info() const { return info_; }

 private:
  struct Impl;  // keeps torch out of this header
  Engine(std::unique_ptr<Impl> impl, ModelLimits limits, ModelInfo info);
  void CheckPlan(const StepPlan& plan) const;
  absl::Status CheckSize(const StepPlan& plan) const;

  std::unique_ptr<Impl> impl_;
  const ModelLimits limits_;
  const ModelInfo info_;
};

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_ENGINE_H_
