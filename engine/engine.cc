#include "engine/engine.h"

#include <ATen/Context.h>
#include <ATen/DeviceAccelerator.h>
#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/checkpoint.h"
#include "engine/config.h"
#include "engine/decode_model.h"
#include "engine/device.h"
#include "engine/gpu_runner.h"
#include "engine/graph_policy.h"
#include "engine/kernels/cuda_error.h"
#include "engine/kv_cache.h"
#include "engine/library_runner.h"
#include "engine/memory_plan.h"
#include "engine/weights.h"
#include "preprocess/check.h"
#include "preprocess/status_macros.h"

namespace glimpse {
namespace {

constexpr int kBlockSize = kernels::kKvBlockRows;  // whatever runs the steps

// Every call into libtorch goes through here.
template <typename Function>
auto Guarded(Function function) -> decltype(function()) {
  try {
    c10::InferenceMode inference;
    return function();
  } catch (const c10::OutOfMemoryError& error) {
    return absl::ResourceExhaustedError(error.what_without_backtrace());
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("out of host memory");
  } catch (const c10::Error& error) {
    return absl::InternalError(error.what_without_backtrace());
  } catch (const CudaError& error) {
    return error.code() == cudaErrorMemoryAllocation ? absl::ResourceExhaustedError(error.what())
                                                     : absl::InternalError(error.what());
  } catch (const std::exception& error) {
    return absl::InternalError(error.what());
  }
}

absl::Status DeviceHasFailed() { return absl::InternalError("the device has failed for good"); }

std::string LastComponent(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  const size_t slash = path.rfind('/');
  return slash == std::string::npos || path.size() == 1 ? path : path.substr(slash + 1);
}

absl::StatusOr<Weights> GetWeights(const EngineOptions& options, const ModelConfig& config,
                                   const at::TensorOptions& tensors) {
  GLIMPSE_RETURN_IF_ERROR(CheckWeightsFit(options, config, tensors));
  if (options.load_format == LoadFormat::kDummy) {
    return DummyWeights(config, tensors, options.progress);
  }
  GLIMPSE_ASSIGN_OR_RETURN(std::shared_ptr<const Checkpoint> checkpoint,
                           Checkpoint::Open(options.model_dir, config));
  return LoadWeights(config, std::move(checkpoint), tensors, options.progress);
}

absl::Status CheckOptions(const EngineOptions& options, const ModelConfig& config) {
  if (options.max_batch_size < 1) {
    return absl::InvalidArgumentError("max_batch_size must be at least 1");
  }
  const int seq_length = config.language.max_context;
  if (options.max_context < 0 || options.max_context > seq_length) {
    return absl::InvalidArgumentError(absl::StrCat("max_context must be from 1 to the model's ",
                                                   seq_length, ", or 0, not ",
                                                   options.max_context));
  }
  if (options.kernels != "auto" && options.kernels != "off") {
    return absl::InvalidArgumentError(
        absl::StrCat("kernels must be auto or off, not \"", options.kernels, "\""));
  }
  if (options.max_prefill_tokens < 1 || options.max_vision_rows < 1) {
    return absl::InvalidArgumentError("a prefill or vision plan takes at least one row");
  }
  return MakeGraphPolicy(options.graphs, options.capture, options.buckets, options.max_batch_size,
                         options.max_prefill_tokens)
      .status();
}

// `options` pass CheckOptions. Without num_blocks, which is known when all else has its memory.
ModelLimits PlanLimits(const EngineOptions& options, const ModelConfig& config) {
  ModelLimits limits;
  limits.vocabulary_size = config.language.vocabulary_size;
  limits.max_context = options.max_context == 0 ? config.language.max_context : options.max_context;
  if (config.vision) {
    limits.image_size = config.vision->image_size;
    limits.image_rows = config.vision->Rows();
    limits.vision_layers = config.vision->num_layers;
  }
  limits.stop_ids = config.stop_ids;
  limits.max_batch_size = options.max_batch_size;
  limits.block_size = kBlockSize;
  return limits;
}

ModelInfo Describe(const EngineOptions& options, const ModelConfig& config,
                   const at::TensorOptions& tensors) {
  ModelInfo info;
  info.name = LastComponent(options.model_dir);
  info.device = tensors.device().is_cpu() ? "cpu" : "cuda";
  info.dtype = TypeName(c10::typeMetaToScalarType(tensors.dtype()));
  const GenerationDefaults& generation = config.generation;
  info.default_sampling.temperature = generation.do_sample ? generation.temperature : 0.0f;
  info.default_sampling.top_p = generation.top_p;
  info.default_sampling.top_k = generation.top_k;
  info.default_sampling.repetition_penalty = generation.repetition_penalty;
  return info;
}

}  // namespace

struct Engine::Impl {
  EngineOptions options;
  ModelConfig config;
  at::TensorOptions tensors;  // the model's type and device
  std::unique_ptr<Runner> runner;
  std::string execution;
  int64_t weight_bytes = 0;
  int64_t kv_bytes = 0;
  bool broken = false;

  // Loads the weights and makes the runner. num_blocks 0 in `limits`: chooses it.
  absl::Status Load(ModelLimits* limits);
  // Guarded, for all that follows Create; notes when the device is broken, and calls nothing then.
  template <typename Function>
  auto Run(Function function) -> decltype(function());
  // What keeps the project's kernels from running the steps; empty: nothing.
  std::string WhyNotKernels() const;
  absl::Status CheckRows() const;
  absl::Status CheckUsable() const;
  absl::Status MakeRunner(Weights weights, ModelLimits* limits);
  absl::StatusOr<int> Blocks(const ModelLimits& limits, int64_t free) const;
  int64_t BlockBytes() const;
};

template <typename Function>
auto Engine::Impl::Run(Function function) -> decltype(function()) {
  if (broken) return DeviceHasFailed();
  auto result = Guarded(function);
  if (!result.ok()) broken = IsBroken(tensors.device());
  return result;
}

std::string Engine::Impl::WhyNotKernels() const {
  return options.kernels == "off" ? "kernels are off" : GpuRunner::WhyNot(config, tensors);
}

// That the kernels take the largest decode step.
absl::Status Engine::Impl::CheckRows() const {
  const int most = options.buckets.DecodeRows(options.max_batch_size);
  if (most <= kMaxDecodeRows || !WhyNotKernels().empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("max_batch_size is ", options.max_batch_size, ", a decode step of ", most,
                   " rows, but the GPU's kernels take at most ", kMaxDecodeRows));
}

absl::Status Engine::Impl::CheckUsable() const {
  if (broken) return DeviceHasFailed();
  if (runner != nullptr) return absl::OkStatus();
  return absl::FailedPreconditionError("no model is loaded: a Reload failed");
}

absl::Status Engine::Impl::Load(ModelLimits* limits) {
  GLIMPSE_RETURN_IF_ERROR(CheckRows());
  GLIMPSE_ASSIGN_OR_RETURN(Weights weights, GetWeights(options, config, tensors));
  weight_bytes = weights.bytes;
  GLIMPSE_RETURN_IF_ERROR(MakeRunner(std::move(weights), limits));
  kv_bytes = BlockBytes() * (limits->num_blocks + KvCache::kExtraBlocks);
  return absl::OkStatus();
}

absl::StatusOr<int> Engine::Impl::Blocks(const ModelLimits& limits, int64_t free) const {
  if (limits.num_blocks > 0) return limits.num_blocks;
  return CountBlocks(options, limits, BlockBytes(), free);
}

int64_t Engine::Impl::BlockBytes() const {
  return KvCache::BlockBytes(config.language, kBlockSize,
                             static_cast<int64_t>(tensors.dtype().itemsize()));
}

absl::Status Engine::Impl::MakeRunner(Weights weights, ModelLimits* limits) {
  const std::string why_not = WhyNotKernels();
  execution =
      why_not.empty() ? "own kernels, CUDA graphs " + options.graphs : "libtorch alone: " + why_not;
  if (!why_not.empty()) {
    GLIMPSE_ASSIGN_OR_RETURN(limits->num_blocks,
                             Blocks(*limits, LibraryKvBytes(options, tensors.device())));
    const bool vision_kernels = options.kernels != "off" && HasKernels(tensors);
    runner = std::make_unique<LibraryRunner>(config, *limits, std::move(weights), vision_kernels,
                                             options.max_vision_rows);
    return absl::OkStatus();
  }
  GpuRunnerOptions gpu;
  gpu.max_prefill_tokens = options.max_prefill_tokens;
  gpu.max_vision_rows = options.max_vision_rows;
  GLIMPSE_ASSIGN_OR_RETURN(gpu.graphs,
                           MakeGraphPolicy(options.graphs, options.capture, options.buckets,
                                           options.max_batch_size, options.max_prefill_tokens));
  auto gpu_runner = std::make_unique<GpuRunner>(config, *limits, std::move(weights), gpu);
  GLIMPSE_ASSIGN_OR_RETURN(limits->num_blocks, Blocks(*limits, GpuKvBytes(tensors.device())));
  gpu_runner->Start(limits->num_blocks);
  runner = std::move(gpu_runner);
  return absl::OkStatus();
}

Engine::Engine(std::unique_ptr<Impl> impl, ModelLimits limits, ModelInfo info)
    : impl_(std::move(impl)), limits_(std::move(limits)), info_(std::move(info)) {}

Engine::~Engine() = default;

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(const EngineOptions& options) {
  return Guarded([&]() -> absl::StatusOr<std::unique_ptr<Engine>> {
    auto impl = std::make_unique<Impl>();
    impl->options = options;
    GLIMPSE_ASSIGN_OR_RETURN(impl->config, ReadModelConfig(options.model_dir));
    GLIMPSE_ASSIGN_OR_RETURN(const c10::Device device, ResolveDevice(options.device));
    GLIMPSE_ASSIGN_OR_RETURN(const c10::ScalarType type,
                             ResolveType(options.dtype, impl->config.dtype, device));
    GLIMPSE_RETURN_IF_ERROR(CheckOptions(options, impl->config));  // before minutes of loading
    // float32 is asked for where exactness counts; cuDNN would round convolutions to TF32.
    at::globalContext().setAllowTF32CuDNN(false);
    impl->tensors = at::TensorOptions().dtype(type).device(device);
    ModelLimits limits = PlanLimits(options, impl->config);
    GLIMPSE_RETURN_IF_ERROR(impl->Load(&limits));
    impl->options.progress = nullptr;  // the caller's, for this call alone
    limits.max_context = std::min(limits.max_context, limits.num_blocks * kBlockSize);
    ModelInfo info = Describe(options, impl->config, impl->tensors);
    info.weight_bytes = impl->weight_bytes;
    info.parameters = impl->weight_bytes / static_cast<int64_t>(impl->tensors.dtype().itemsize());
    info.kv_bytes = impl->kv_bytes;
    info.execution = impl->execution;
    return std::unique_ptr<Engine>(new Engine(std::move(impl), limits, std::move(info)));
  });
}

void Engine::CheckPlan(const StepPlan& plan) const {
  for (const StepRow& row : plan.rows) {
    if (row.slot < 0) continue;
    GLIMPSE_CHECK(row.slot < limits_.max_batch_size, "no such slot");
    for (int32_t token : row.tokens) {
      GLIMPSE_CHECK(token != kLastToken || plan.kind == StepKind::kDecode, "an id nobody knows");
      GLIMPSE_CHECK(IsImageRow(token) ? ImageRowIndex(token) < limits_.image_rows
                                      : token < limits_.vocabulary_size,
                    "no such token or image row");
    }
    for (int32_t position : row.positions) {
      GLIMPSE_CHECK(position >= 0 && position < limits_.max_context, "no such position");
    }
  }
}

// A plan's tokens that there is no room for.
absl::Status Engine::CheckSize(const StepPlan& plan) const {
  const int most = impl_->options.max_prefill_tokens;
  if (plan.kind != StepKind::kPrefill || plan.NumTokens() <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("a prefill plan of ", plan.NumTokens(),
                                                 " tokens; max_prefill_tokens is ", most));
}

absl::Status Engine::Launch(const StepPlan& plan) {
  CheckPlan(plan);
  GLIMPSE_RETURN_IF_ERROR(impl_->CheckUsable());
  GLIMPSE_RETURN_IF_ERROR(CheckSize(plan));
  return impl_->Run([&] { return impl_->runner->Launch(plan); });
}

absl::StatusOr<StepOutput> Engine::Finish() {
  GLIMPSE_RETURN_IF_ERROR(impl_->CheckUsable());
  return impl_->Run([&] { return impl_->runner->Finish(); });
}

bool Engine::Upkeep() {
  if (impl_->runner == nullptr) return false;
  const absl::StatusOr<bool> more =
      impl_->Run([&]() -> absl::StatusOr<bool> { return impl_->runner->Upkeep(); });
  return more.ok() && *more;  // what keeps failing is found by the next step
}

bool Engine::broken() const { return impl_->broken; }

int Engine::depth() const { return impl_->runner == nullptr ? 1 : impl_->runner->depth(); }

absl::StatusOr<std::vector<float>> Engine::Logits(const StepPlan& plan) {
  CheckPlan(plan);
  GLIMPSE_RETURN_IF_ERROR(impl_->CheckUsable());
  GLIMPSE_RETURN_IF_ERROR(CheckSize(plan));
  return impl_->Run(
      [&]() -> absl::StatusOr<std::vector<float>> { return impl_->runner->Logits(plan); });
}

absl::Status Engine::Reload() {
  return impl_->Run([&]() -> absl::Status {
    const EngineOptions& options = impl_->options;
    GLIMPSE_ASSIGN_OR_RETURN(const ModelConfig config, ReadModelConfig(options.model_dir));
    if (!(config == impl_->config)) {
      return absl::InvalidArgumentError("config.json is not the one that was loaded");
    }
    if (options.load_format != LoadFormat::kDummy) {
      GLIMPSE_RETURN_IF_ERROR(Checkpoint::Open(options.model_dir, config).status());
    }
    impl_->runner.reset();  // the device has no room for both
    ModelLimits limits = limits_;
    return impl_->Load(&limits);
  });
}

GraphStats Engine::graph_stats() const {
  return impl_->runner == nullptr ? GraphStats() : impl_->runner->graph_stats();
}

MemoryUse Engine::memory() const {
  if (impl_->runner == nullptr) return {};
  MemoryUse use = {impl_->weight_bytes, impl_->kv_bytes, impl_->runner->graph_bytes(), 0, 0};
  if (impl_->tensors.device().is_cpu()) return use;
  const auto info = impl_->Run([&]() -> absl::StatusOr<std::pair<size_t, size_t>> {
    return at::accelerator::getMemoryInfo(impl_->tensors.device().index());
  });
  if (!info.ok()) return use;
  const auto [free, total] = *info;
  use.free = static_cast<int64_t>(free);
  use.workspace = static_cast<int64_t>(total - free) - use.weights - use.kv_cache - use.graphs;
  return use;
}

}  // namespace glimpse
