// The device side of a StepPlan for DecodeModel and PrefillModel: fixed addresses, one copy a step.
//
// Fill is the only writer. Padding rows and tokens get values that reach no real one: slot -1,
// length 0, and a cache row that nobody reads. Serving thread alone.
#ifndef GLIMPSE_ENGINE_GPU_INPUTS_H_
#define GLIMPSE_ENGINE_GPU_INPUTS_H_

#include <ATen/core/Tensor.h>

#include <vector>

#include "engine/decode_model.h"
#include "engine/kv_cache.h"
#include "engine/prefill_model.h"
#include "engine/schedule/step_plan.h"
#include "engine/upload_area.h"

namespace glimpse {

// Steps whose inputs may be on their way at the same time.
constexpr int kStepsInFlight = 2;

class GpuDecodeInputs {
 public:
  GpuDecodeInputs(int max_blocks, at::Device device);

  void Fill(const StepPlan& plan, const KvCache& cache, cudaStream_t stream);
  // A step of nobody's rows: the first attends to the cache's trial block, the others to nothing.
  void FillTrial(int rows, const KvCache& cache, cudaStream_t stream);

  const DecodeInputs& device() const { return device_; }

 private:
  void Clear(int rows, const KvCache& cache);

  UploadArea area_{kStepsInFlight};
  const int64_t max_blocks_;
  UploadArea::Array<int32_t> tokens_, positions_, cache_rows_, lengths_, block_table_;
  UploadArea::Array<kernels::SampleRow> sampling_;
  DecodeInputs device_;
};

class GpuPrefillInputs {
 public:
  static constexpr int kMaxSpans = kMaxDecodeRows;

  GpuPrefillInputs(int max_tokens, int max_blocks, at::Device device);

  // `num_tokens` with padding. `pictures`: by slot, [image rows, hidden]; the rows that the plan
  // names must be there.
  void Fill(const StepPlan& plan, int num_tokens, const KvCache& cache,
            const std::vector<at::Tensor>& pictures, cudaStream_t stream);
  void FillTrial(int num_tokens, const KvCache& cache, cudaStream_t stream);

  const PrefillInputs& device() const { return device_; }

  // Of the last Fill: the rows that sample, in the plan's order.
  int num_samples() const { return num_samples_; }
  const int32_t* sample_rows() const { return area_.device(sample_rows_); }  // tokens
  const kernels::SampleRow* sampling() const { return area_.device(sampling_); }

 private:
  void Clear(int num_tokens, const KvCache& cache);
  void AddRow(const StepRow& row, int span, int first, const KvCache& cache,
              const std::vector<at::Tensor>& pictures);

  UploadArea area_{kStepsInFlight};
  const int64_t max_blocks_;
  UploadArea::Array<int32_t> tokens_, positions_, cache_rows_, block_table_, first_tokens_,
      kv_lengths_, sample_rows_;
  UploadArea::Array<const kernels::bf16*> pictures_;
  UploadArea::Array<kernels::SampleRow> sampling_;
  PrefillInputs device_;
  int num_samples_ = 0;
};

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_GPU_INPUTS_H_
