#include "engine/gpu_runner.h"

#include <ATen/Context.h>
#include <ATen/cuda/CUDAContext.h>
#include <ATen/ops/tensor.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <algorithm>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/decode_model.h"
#include "engine/device.h"
#include "engine/gpu_inputs.h"
#include "engine/gpu_results.h"
#include "engine/graph_cache.h"
#include "engine/kernels/cuda_error.h"
#include "engine/picture_store.h"
#include "engine/prefill_model.h"
#include "engine/schedule/sequence.h"
#include "engine/slot_starter.h"
#include "preprocess/check.h"

namespace glimpse {
namespace {

// Of the longest sequence.
int MaxBlocks(const ModelLimits& limits) {
  return static_cast<int>(BlocksFor(limits.max_context, limits));
}

}  // namespace

struct GpuRunner::Impl {
  Impl(const ModelConfig& config, const ModelLimits& limits, Weights loaded,
       const GpuRunnerOptions& options);

  void WarmUp();
  void Start(int num_blocks);
  void RecordAtStart();
  void Record(GraphKey key);
  void RecordIfWanted(GraphKey key);  // at a size's first use
  bool Upkeep();

  void Enqueue(const StepPlan& plan);
  void StartSlots(const StepPlan& plan);
  void Vision(const StepPlan& plan);
  void Decode(const StepPlan& plan);
  void Prefill(const StepPlan& plan);
  void EnqueueDecode(int rows);
  void EnqueuePrefill(int num_tokens);
  int PaddedTokens(const StepPlan& plan) const;
  const std::vector<at::Tensor>& PictureRows() const {
    return pictures ? pictures->rows() : no_pictures;
  }
  std::vector<float> PrefillLogits(const StepPlan& plan);

  const ModelConfig config;
  const ModelLimits limits;
  const GpuRunnerOptions options;
  const Weights weights;
  const c10::cuda::CUDAStream stream;
  const at::TensorOptions tensors;  // the model's type and device
  const RopeTable rope;
  SamplerState sampler;
  PrefillModel prefill;
  GpuDecodeInputs decode_inputs;
  GpuPrefillInputs prefill_inputs;
  std::optional<PictureStore> pictures;  // empty: a text-only checkpoint
  const std::vector<at::Tensor> no_pictures;
  GpuResults results;
  SlotStarter starter;
  GraphCache graphs;
  // With the cache:
  std::optional<KvCache> cache;
  std::optional<DecodeModel> decode;
};

GpuRunner::Impl::Impl(const ModelConfig& model, const ModelLimits& model_limits, Weights loaded,
                      const GpuRunnerOptions& runner_options)
    : config(model),
      limits(model_limits),
      options(runner_options),
      weights(std::move(loaded)),
      stream(c10::cuda::getStreamFromPool(/*isHighPriority=*/true)),
      tensors(weights.language.word_embeddings.options()),
      rope(config.language, tensors),
      sampler(limits.max_batch_size, limits.vocabulary_size, tensors),
      prefill(config.language, weights.language, rope, options.max_prefill_tokens),
      decode_inputs(MaxBlocks(limits), tensors.device()),
      prefill_inputs(options.max_prefill_tokens, MaxBlocks(limits), tensors.device()),
      results(limits.vocabulary_size, tensors.device()),
      starter(limits.max_batch_size, limits.max_context, tensors.device()),
      graphs(stream, options.graphs) {
  // cuBLAS's choices are faster than cuBLASLt's at these shapes (up to 10 %, measured on an H100).
  at::globalContext().setBlasPreferredBackend(at::BlasBackend::Cublas);
  if (config.vision) {
    pictures.emplace(*config.vision, *weights.vision, limits.max_batch_size,
                     options.max_vision_rows);
  }
}

void GpuRunner::Impl::WarmUp() {
  // Weights and buffers were filled on libtorch's default stream.
  CheckCuda(cudaDeviceSynchronize(), "loading");
  const c10::cuda::CUDAStreamGuard guard(stream);
  KvCache small(config.language, /*num_blocks=*/1, limits.block_size, tensors);
  prefill_inputs.FillTrial(options.max_prefill_tokens, small, stream);
  prefill.Layers(prefill_inputs.device(), options.max_prefill_tokens, small, stream);
  if (pictures) pictures->WarmUp(stream);
  CheckCuda(cudaStreamSynchronize(stream), "warm-up");
}

void GpuRunner::Impl::Start(int num_blocks) {
  const c10::cuda::CUDAStreamGuard guard(stream);
  cache.emplace(config.language, num_blocks, limits.block_size, tensors);
  decode.emplace(config.language, weights.language, rope, *cache, &sampler);
  RecordAtStart();
}

// The largest first: what it makes the libraries keep is enough for the others.
void GpuRunner::Impl::RecordAtStart() {
  const std::set<GraphKey>& keys = options.graphs.at_start;
  for (auto key = keys.rbegin(); key != keys.rend(); ++key) Record(*key);
}

void GpuRunner::Impl::Record(GraphKey key) {
  GraphCache::Trial trial;
  if (key.kind == StepKind::kDecode) {
    trial.prepare = [this, key] { decode_inputs.FillTrial(key.bucket, *cache, stream); };
    trial.result = [this, key] { return decode->logits().narrow(0, 0, key.bucket); };
    graphs.Record(
        key, [this, key] { EnqueueDecode(key.bucket); }, trial);
  } else {
    trial.prepare = [this, key] { prefill_inputs.FillTrial(key.bucket, *cache, stream); };
    // Attention writes the rows of real tokens alone.
    const int64_t real = std::min(key.bucket, limits.block_size);
    trial.result = [this, real] { return prefill.rows().attended.narrow(0, 0, real); };
    graphs.Record(
        key, [this, key] { EnqueuePrefill(key.bucket); }, trial);
  }
}

void GpuRunner::Impl::RecordIfWanted(GraphKey key) {
  if (options.graphs.at_first_use && graphs.Wants(key)) Record(key);
}

bool GpuRunner::Impl::Upkeep() {
  const GraphChange change = NextGraphChange(graphs.Uses(), graphs.steps());
  if (change.action == GraphChange::kRecord) Record(change.key);
  if (change.action == GraphChange::kDrop) graphs.Drop(change.key);
  return change.action != GraphChange::kNone;
}

void GpuRunner::Impl::EnqueueDecode(int rows) {
  decode->Layers(decode_inputs.device(), rows, stream);
  decode->Head(rows, stream);
  decode->Sample(decode_inputs.device().sampling, rows, stream);
}

void GpuRunner::Impl::EnqueuePrefill(int num_tokens) {
  prefill.Layers(prefill_inputs.device(), num_tokens, *cache, stream);
}

int GpuRunner::Impl::PaddedTokens(const StepPlan& plan) const {
  return std::min(std::max(plan.bucket, plan.NumTokens()), options.max_prefill_tokens);
}

// What the last sequence left in a slot ends here.
void GpuRunner::Impl::StartSlots(const StepPlan& plan) {
  starter.Start(plan, sampler, limits.vocabulary_size, stream);
  if (!pictures) return;
  for (const StepRow& row : plan.rows) {
    if (row.slot >= 0 && row.starts) pictures->Drop(row.slot);
  }
}

void GpuRunner::Impl::Enqueue(const StepPlan& plan) {
  StartSlots(plan);
  switch (plan.kind) {
    case StepKind::kVision:
      return Vision(plan);
    case StepKind::kPrefill:
      return Prefill(plan);
    case StepKind::kDecode:
      return Decode(plan);
    case StepKind::kIdle:
      GLIMPSE_CHECK(false, "an idle plan is not launched");
  }
}

void GpuRunner::Impl::Vision(const StepPlan& plan) {
  pictures->Encode(plan, stream);
  results.Expect(plan, stream);
}

void GpuRunner::Impl::Decode(const StepPlan& plan) {
  const int rows = static_cast<int>(plan.rows.size());
  const GraphKey key = {StepKind::kDecode, rows};
  RecordIfWanted(key);
  decode_inputs.Fill(plan, *cache, stream);
  graphs.Run(key, [&] { EnqueueDecode(rows); });
  results.Read(plan, sampler.results, decode->logits(), stream);
}

void GpuRunner::Impl::Prefill(const StepPlan& plan) {
  const int tokens = PaddedTokens(plan);
  const GraphKey key = {StepKind::kPrefill, tokens};
  RecordIfWanted(key);
  prefill_inputs.Fill(plan, tokens, *cache, PictureRows(), stream);
  graphs.Run(key, [&] { EnqueuePrefill(tokens); });
  if (pictures) pictures->DropUsed(plan);
  const int samples = prefill_inputs.num_samples();
  if (samples > 0) {
    decode->FinishPrefill(prefill.rows(), prefill_inputs.sample_rows(), samples, stream);
    decode->Head(samples, stream);
    decode->Sample(prefill_inputs.sampling(), samples, stream);
  }
  results.Read(plan, sampler.results, decode->logits(), stream);
}

std::vector<float> GpuRunner::Impl::PrefillLogits(const StepPlan& plan) {
  const int tokens = plan.NumTokens(), padded = PaddedTokens(plan);
  prefill_inputs.Fill(plan, padded, *cache, PictureRows(), stream);
  EnqueuePrefill(padded);
  if (pictures) pictures->DropUsed(plan);
  std::vector<float> logits;
  for (int first = 0; first < tokens; first += kMaxDecodeRows) {
    const int rows = std::min(kMaxDecodeRows, tokens - first);
    std::vector<int32_t> indices(kMaxDecodeRows, 0);
    for (int i = 0; i < rows; ++i) indices[i] = first + i;
    const at::Tensor there = at::tensor(indices, at::kInt).to(tensors.device());
    decode->FinishPrefill(prefill.rows(), there.const_data_ptr<int32_t>(), rows, stream);
    decode->Head(rows, stream);
    const at::Tensor host = decode->logits().narrow(0, 0, rows).cpu();
    logits.insert(logits.end(), host.const_data_ptr<float>(),
                  host.const_data_ptr<float>() + host.numel());
  }
  return logits;
}

std::string GpuRunner::WhyNot(const ModelConfig& config, const at::TensorOptions& tensors) {
  if (!tensors.device().is_cuda()) return "no GPU";
  const c10::ScalarType type = c10::typeMetaToScalarType(tensors.dtype());
  if (type != at::kBFloat16) {
    return absl::StrCat("the type is ", TypeName(type), ", the kernels need bfloat16");
  }
  if (!HasKernels(tensors)) {
    const auto* device = at::cuda::getCurrentDeviceProperties();
    return absl::StrCat(device->name, " has compute capability ", device->major, ".", device->minor,
                        ", the kernels need 9.0");
  }
  if (DecodeModel::Supports(config.language, type)) return "";
  return "the kernels do not take this config.json's sizes (they need heads of 128 channels, 1, 2, "
         "4, 8 or 16 to a KV head, a hidden_size near 4096 or small, and 16 to 360448 ids)";
}

GpuRunner::GpuRunner(const ModelConfig& config, const ModelLimits& limits, Weights weights,
                     const GpuRunnerOptions& options)
    : impl_(std::make_unique<Impl>(config, limits, std::move(weights), options)) {
  impl_->WarmUp();
}

GpuRunner::~GpuRunner() { cudaStreamSynchronize(impl_->stream); }

void GpuRunner::Start(int num_blocks) { impl_->Start(num_blocks); }

absl::Status GpuRunner::Launch(const StepPlan& plan) {
  const c10::cuda::CUDAStreamGuard guard(impl_->stream);
  if (plan.kind == StepKind::kVision && !impl_->pictures) {
    return absl::InvalidArgumentError("this checkpoint takes no pictures");
  }
  try {
    impl_->Enqueue(plan);
  } catch (...) {
    // The host's buffers were turned for a step that is not in flight: wait until all are free.
    cudaStreamSynchronize(impl_->stream);
    throw;
  }
  return absl::OkStatus();
}

absl::StatusOr<StepOutput> GpuRunner::Finish() { return impl_->results.Take(); }

int GpuRunner::depth() const { return kStepsInFlight; }

bool GpuRunner::Upkeep() {
  const c10::cuda::CUDAStreamGuard guard(impl_->stream);
  return impl_->Upkeep();
}

std::vector<float> GpuRunner::Logits(const StepPlan& plan) {
  const c10::cuda::CUDAStreamGuard guard(impl_->stream);
  impl_->StartSlots(plan);
  if (plan.kind == StepKind::kPrefill) return impl_->PrefillLogits(plan);
  const int rows = static_cast<int>(plan.rows.size());
  impl_->decode_inputs.Fill(plan, *impl_->cache, impl_->stream);
  impl_->decode->Layers(impl_->decode_inputs.device(), rows, impl_->stream);
  impl_->decode->Head(rows, impl_->stream);
  const at::Tensor host = impl_->decode->logits().narrow(0, 0, plan.num_real_rows).cpu();
  return {host.const_data_ptr<float>(), host.const_data_ptr<float>() + host.numel()};
}

GraphStats GpuRunner::graph_stats() const { return impl_->graphs.stats(); }
int64_t GpuRunner::graph_bytes() const { return impl_->graphs.bytes(); }

}  // namespace glimpse
