#include "engine/library_runner.h"

#include <ATen/DeviceAccelerator.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/stack.h>

#include <utility>

#include "absl/status/status.h"
#include "preprocess/check.h"
#include "preprocess/status_macros.h"

namespace glimpse {

LibraryRunner::LibraryRunner(const ModelConfig& config, const ModelLimits& limits, Weights weights,
                             bool vision_kernels, int max_vision_rows)
    : weights_(std::move(weights)),
      language_(config.language, weights_.language),
      cache_(config.language, limits.num_blocks, limits.block_size,
             weights_.language.word_embeddings.options()),
      buffers_(weights_.language.word_embeddings.device()),
      sampler_(limits.max_batch_size, limits.vocabulary_size,
               weights_.language.word_embeddings.device()),
      pictures_(static_cast<size_t>(limits.max_batch_size)) {
  if (config.vision) {
    vision_.emplace(*config.vision, *weights_.vision, vision_kernels, max_vision_rows);
  }
}

absl::Status LibraryRunner::Launch(const StepPlan& plan) {
  GLIMPSE_CHECK(!output_, "a step was launched before the last one was finished");
  StartSlots(plan);
  StepOutput output;
  if (plan.kind == StepKind::kVision) {
    if (!vision_) return absl::InvalidArgumentError("this checkpoint takes no pictures");
    vision_->Run(plan, plan.first_layer == 0 ? Pixels(plan) : at::Tensor(), &pictures_);
    output.tokens.resize(plan.rows.size());
  } else {
    GLIMPSE_ASSIGN_OR_RETURN(output, Sample(plan));
  }
  // A step that samples nothing has waited for nothing so far: its errors are its own.
  const c10::Device device = weights_.language.word_embeddings.device();
  if (!device.is_cpu()) at::accelerator::synchronizeDevice(device.index());
  output_ = std::move(output);
  return absl::OkStatus();
}

absl::StatusOr<StepOutput> LibraryRunner::Finish() {
  GLIMPSE_CHECK(output_.has_value(), "no step was launched");
  StepOutput output = *std::move(output_);
  output_.reset();
  return output;
}

std::vector<float> LibraryRunner::Logits(const StepPlan& plan) {
  StartSlots(plan);
  const at::Tensor logits = Forward(plan, /*all_logits=*/true).cpu();
  const float* values = logits.const_data_ptr<float>();
  return {values, values + logits.numel()};
}

// What the last sequence left in a slot ends here.
void LibraryRunner::StartSlots(const StepPlan& plan) {
  for (const StepRow& row : plan.rows) {
    if (row.slot < 0 || !row.starts) continue;
    pictures_[row.slot].reset();
    sampler_.Start(row.slot, row.prompt == nullptr ? std::vector<int32_t>() : *row.prompt);
  }
}

// Of a vision plan's pictures, on the device: [rows, size, size, 3].
at::Tensor LibraryRunner::Pixels(const StepPlan& plan) const {
  std::vector<at::Tensor> pictures;
  for (const StepRow& row : plan.rows) {
    // Only read; from_blob has no const form.
    void* pixels = const_cast<uint8_t*>(row.image->pixels.data());
    pictures.push_back(at::from_blob(pixels, {row.image->height, row.image->width, 3},
                                     at::TensorOptions().dtype(at::kByte)));
  }
  return at::stack(pictures).to(weights_.language.word_embeddings.device());
}

at::Tensor LibraryRunner::Forward(const StepPlan& plan, bool all_logits) {
  buffers_.Fill(plan, cache_, all_logits);
  const StepInputs& step = buffers_.inputs();
  const at::Tensor hidden = language_.Forward(step, pictures_, &cache_);
  for (const ImageSpan& span : step.images) {
    at::Tensor& picture = pictures_[span.slot];
    if (span.first_row + span.num_rows == picture.size(0)) picture.reset();
  }
  if (step.sample_rows.numel() == 0) return at::Tensor();
  return language_.Logits(hidden.index_select(0, step.sample_rows));
}

absl::StatusOr<StepOutput> LibraryRunner::Sample(const StepPlan& plan) {
  std::vector<SampleRow> samples;
  for (const StepRow& row : plan.rows) {
    if (row.slot >= 0 && row.samples) {
      samples.push_back({row.slot, row.sampling, row.sample_index});
    }
  }
  const at::Tensor logits = Forward(plan, /*all_logits=*/false);
  std::vector<SampledToken> tokens;
  if (!samples.empty()) {
    GLIMPSE_ASSIGN_OR_RETURN(tokens, sampler_.Sample(logits, samples));
  }
  StepOutput output;
  size_t next = 0;
  for (const StepRow& row : plan.rows) {
    if (row.slot < 0) continue;
    output.tokens.push_back(row.samples ? std::move(tokens[next++]) : SampledToken());
  }
  return output;
}

}  // namespace glimpse
