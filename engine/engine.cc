#include "engine/engine.h"

#include <ATen/Context.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <limits>
#include <new>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/checkpoint.h"
#include "engine/config.h"
#include "engine/device.h"
#include "engine/kv_cache.h"
#include "engine/language_model.h"
#include "engine/sampler.h"
#include "engine/step_buffers.h"
#include "engine/vision_tower.h"
#include "engine/weights.h"
#include "preprocess/check.h"
#include "preprocess/status_macros.h"

namespace glimpse {
namespace {

constexpr int kBlockSize = 16;

// Where kv_cache_bytes is 0, the cache takes no more than this.
constexpr int64_t kCpuKvBytes = int64_t{1} << 30;
constexpr double kGpuKvShare = 0.8;  // of what is free once the weights are there

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
  } catch (const std::exception& error) {
    return absl::InternalError(error.what());
  }
}

std::string LastComponent(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  const size_t slash = path.rfind('/');
  return slash == std::string::npos || path.size() == 1 ? path : path.substr(slash + 1);
}

// RESOURCE_EXHAUSTED where the weights need more memory than there is. Asked for the CPU alone:
// there the system would kill the process in the middle, while a GPU's allocator says no.
absl::Status CheckWeightsFit(const EngineOptions& options, const ModelConfig& config,
                             const at::TensorOptions& tensors) {
  const std::string type = TypeName(c10::typeMetaToScalarType(tensors.dtype()));
  const bool stays_mapped = options.load_format == LoadFormat::kAuto && type == config.dtype;
  if (!tensors.device().is_cpu() || stays_mapped) return absl::OkStatus();
  int64_t bytes = 0;
  for (const TensorSpec& spec : ExpectedTensors(config)) {
    bytes += NumElements(spec.shape) * static_cast<int64_t>(tensors.dtype().itemsize());
  }
  const int64_t free = FreeBytes(tensors.device());
  if (bytes <= free) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("the weights take ", bytes, " bytes as ", type, ", but ", free, " are free"));
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

// KV blocks that fit `options`; the weights are loaded already.
absl::StatusOr<int> CountBlocks(const EngineOptions& options, const LanguageConfig& config,
                                int max_context, const at::TensorOptions& tensors) {
  const int64_t block =
      KvCache::BlockBytes(config, kBlockSize, static_cast<int64_t>(tensors.dtype().itemsize()));
  const int64_t free = FreeBytes(tensors.device());
  const int64_t wanted =
      int64_t{options.max_batch_size} * ((max_context + kBlockSize - 1) / kBlockSize);
  int64_t blocks = options.kv_cache_bytes / block;
  if (options.kv_cache_bytes == 0) {
    const int64_t most = tensors.device().is_cpu()
                             ? std::min(kCpuKvBytes, free / 2)
                             : static_cast<int64_t>(kGpuKvShare * static_cast<double>(free));
    blocks = std::min(wanted, most / block);
  }
  if (blocks < 1) {
    return absl::InvalidArgumentError(absl::StrCat("the KV cache needs at least ", block,
                                                   " bytes (kv_cache_bytes is ",
                                                   options.kv_cache_bytes, ")"));
  }
  if (blocks > free / block - 1) {  // the cache has one more block
    return absl::ResourceExhaustedError(
        absl::StrCat("the KV cache asks for ", blocks * block, " bytes, but ", free, " are free"));
  }
  return static_cast<int>(std::min<int64_t>(blocks, std::numeric_limits<int>::max() / kBlockSize));
}

absl::Status CheckSizes(const EngineOptions& options, const ModelConfig& config) {
  if (options.max_batch_size < 1) {
    return absl::InvalidArgumentError("max_batch_size must be at least 1");
  }
  const int seq_length = config.language.max_context;
  if (options.max_context < 0 || options.max_context > seq_length) {
    return absl::InvalidArgumentError(absl::StrCat("max_context must be from 1 to the model's ",
                                                   seq_length, ", or 0, not ",
                                                   options.max_context));
  }
  return absl::OkStatus();
}

// `options` pass CheckSizes.
absl::StatusOr<ModelLimits> PlanLimits(const EngineOptions& options, const ModelConfig& config,
                                       const at::TensorOptions& tensors) {
  const int seq_length = config.language.max_context;
  ModelLimits limits;
  limits.vocabulary_size = config.language.vocabulary_size;
  limits.max_context = options.max_context == 0 ? seq_length : options.max_context;
  if (config.vision) {
    limits.image_size = config.vision->image_size;
    limits.image_rows = config.vision->Rows();
  }
  limits.stop_ids = config.stop_ids;
  limits.max_batch_size = options.max_batch_size;
  limits.block_size = kBlockSize;
  GLIMPSE_ASSIGN_OR_RETURN(limits.num_blocks,
                           CountBlocks(options, config.language, limits.max_context, tensors));
  limits.max_context = std::min(limits.max_context, limits.num_blocks * kBlockSize);
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
  Impl(const ModelConfig& config, const ModelLimits& limits, Weights loaded,
       const at::TensorOptions& tensors)
      : weights(std::move(loaded)),
        language(config.language, weights.language),
        cache(config.language, limits.num_blocks, limits.block_size, tensors),
        buffers(tensors.device()),
        sampler(limits.max_batch_size, limits.vocabulary_size, tensors.device()),
        pictures(static_cast<size_t>(limits.max_batch_size)) {
    if (config.vision) vision.emplace(*config.vision, *weights.vision);
  }

  void Start(const StepPlan& plan);
  void Encode(const StepRow& row);
  at::Tensor Forward(const StepPlan& plan, bool all_logits);  // [samples, vocabulary] float32
  absl::StatusOr<StepOutput> Sample(const StepPlan& plan);

  const Weights weights;
  const LanguageModel language;
  std::optional<VisionTower> vision;
  KvCache cache;
  StepBuffers buffers;
  Sampler sampler;
  std::vector<at::Tensor> pictures;  // by slot, until the prompt has taken their last row
};

// What the last sequence left in a slot ends here.
void Engine::Impl::Start(const StepPlan& plan) {
  for (const StepRow& row : plan.rows) {
    if (row.slot < 0 || !row.starts) continue;
    pictures[row.slot].reset();
    sampler.Start(row.slot, row.prompt == nullptr ? std::vector<int32_t>() : *row.prompt);
  }
}

void Engine::Impl::Encode(const StepRow& row) {
  const int64_t height = row.image->height, width = row.image->width;
  // Only read; from_blob has no const form.
  void* pixels = const_cast<uint8_t*>(row.image->pixels.data());
  pictures[row.slot] = vision->Encode(
      at::from_blob(pixels, {1, height, width, 3}, at::TensorOptions().dtype(at::kByte)));
}

at::Tensor Engine::Impl::Forward(const StepPlan& plan, bool all_logits) {
  buffers.Fill(plan, cache, all_logits);
  const StepInputs& step = buffers.inputs();
  const at::Tensor hidden = language.Forward(step, pictures, &cache);
  for (const ImageSpan& span : step.images) {
    at::Tensor& picture = pictures[span.slot];
    if (span.first_row + span.num_rows == picture.size(0)) picture.reset();
  }
  if (step.sample_rows.numel() == 0) return at::Tensor();
  return language.Logits(hidden.index_select(0, step.sample_rows));
}

absl::StatusOr<StepOutput> Engine::Impl::Sample(const StepPlan& plan) {
  std::vector<SampleRow> samples;
  for (const StepRow& row : plan.rows) {
    if (row.slot >= 0 && row.samples) {
      samples.push_back({row.slot, row.sampling, row.sample_index});
    }
  }
  const at::Tensor logits = Forward(plan, /*all_logits=*/false);
  std::vector<SampledToken> tokens;
  if (!samples.empty()) {
    GLIMPSE_ASSIGN_OR_RETURN(tokens, sampler.Sample(logits, samples));
  }
  StepOutput output;
  size_t next = 0;
  for (const StepRow& row : plan.rows) {
    if (row.slot < 0) continue;
    output.tokens.push_back(row.samples ? std::move(tokens[next++]) : SampledToken());
  }
  return output;
}

Engine::Engine(std::unique_ptr<Impl> impl, ModelLimits limits, ModelInfo info)
    : impl_(std::move(impl)), limits_(std::move(limits)), info_(std::move(info)) {}

Engine::~Engine() = default;

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(const EngineOptions& options) {
  return Guarded([&]() -> absl::StatusOr<std::unique_ptr<Engine>> {
    GLIMPSE_ASSIGN_OR_RETURN(const ModelConfig config, ReadModelConfig(options.model_dir));
    GLIMPSE_ASSIGN_OR_RETURN(const c10::Device device, ResolveDevice(options.device));
    GLIMPSE_ASSIGN_OR_RETURN(const c10::ScalarType type,
                             ResolveType(options.dtype, config.dtype, device));
    GLIMPSE_RETURN_IF_ERROR(CheckSizes(options, config));  // before minutes of loading
    // float32 is asked for where exactness counts; cuDNN would round convolutions to TF32.
    at::globalContext().setAllowTF32CuDNN(false);
    const at::TensorOptions tensors = at::TensorOptions().dtype(type).device(device);
    GLIMPSE_ASSIGN_OR_RETURN(Weights weights, GetWeights(options, config, tensors));
    GLIMPSE_ASSIGN_OR_RETURN(const ModelLimits limits, PlanLimits(options, config, tensors));
    ModelInfo info = Describe(options, config, tensors);
    info.parameters = weights.parameters;
    info.weight_bytes = weights.bytes;
    auto impl = std::make_unique<Impl>(config, limits, std::move(weights), tensors);
    info.kv_bytes = impl->cache.bytes();
    return std::unique_ptr<Engine>(new Engine(std::move(impl), limits, std::move(info)));
  });
}

void Engine::CheckPlan(const StepPlan& plan) const {
  for (const StepRow& row : plan.rows) {
    if (row.slot < 0) continue;
    GLIMPSE_CHECK(row.slot < limits_.max_batch_size, "no such slot");
    for (int32_t token : row.tokens) {
      GLIMPSE_CHECK(IsImageRow(token) ? ImageRowIndex(token) < limits_.image_rows
                                      : token < limits_.vocabulary_size,
                    "no such token or image row");
    }
    for (int32_t position : row.positions) {
      GLIMPSE_CHECK(position >= 0 && position < limits_.max_context, "no such position");
    }
  }
}

absl::StatusOr<StepOutput> Engine::Run(const StepPlan& plan) {
  CheckPlan(plan);
  return Guarded([&]() -> absl::StatusOr<StepOutput> {
    impl_->Start(plan);
    if (plan.kind != StepKind::kVision) return impl_->Sample(plan);
    if (!impl_->vision) return absl::InvalidArgumentError("this checkpoint takes no pictures");
    impl_->Encode(plan.rows.at(0));
    return StepOutput{std::vector<SampledToken>(1)};
  });
}

absl::StatusOr<std::vector<float>> Engine::Logits(const StepPlan& plan) {
  CheckPlan(plan);
  return Guarded([&]() -> absl::StatusOr<std::vector<float>> {
    impl_->Start(plan);
    const at::Tensor logits = impl_->Forward(plan, /*all_logits=*/true).cpu();
    const float* values = logits.const_data_ptr<float>();
    return std::vector<float>(values, values + logits.numel());
  });
}

}  // namespace glimpse
