// The way back: sampled tokens from the device to the host, a step at a time and one step late. Up
// to kStepsInFlight steps are read and not taken. Serving thread alone.
#ifndef GLIMPSE_ENGINE_GPU_RESULTS_H_
#define GLIMPSE_ENGINE_GPU_RESULTS_H_

#include <ATen/core/Tensor.h>
#include <cuda_runtime_api.h>

#include <deque>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/schedule/step_plan.h"

namespace glimpse {

class GpuResults {
 public:
  GpuResults(int vocabulary, at::Device device);
  ~GpuResults();
  GpuResults(const GpuResults&) = delete;
  GpuResults& operator=(const GpuResults&) = delete;

  // Puts behind the step on `stream` that its results be copied. `results`: kernels::SampleResult,
  // a row of the plan each in a decode step and a sampling row each in a prefill step; `logits` of
  // the same rows, for those that want alternatives. After an exception there is nothing to Take.
  void Read(const StepPlan& plan, const at::Tensor& results, const at::Tensor& logits,
            cudaStream_t stream);
  // For a step without results: notes its end alone.
  void Expect(const StepPlan& plan, cudaStream_t stream);

  // Waits for the oldest step. INTERNAL: a row's logits were not finite.
  absl::StatusOr<StepOutput> Take();

 private:
  struct Wanted {  // of a real row of the plan
    int at = -1;   // its row of the results; -1: it does not sample
    int slot = -1;
    int alternatives = 0;
  };
  struct Step {
    size_t copy = 0;  // of the host's buffers, and its event
    std::vector<Wanted> rows;
    int alternatives = 0;  // most of any row
  };
  struct Copy {
    at::Tensor results, ids, logprobs;  // pinned
    cudaEvent_t done = nullptr;
  };

  Step StepOf(const StepPlan& plan) const;
  void End(Step step, cudaStream_t stream);

  const int vocabulary_;
  std::vector<Copy> copies_;
  at::Tensor ids_, logprobs_;  // [kMaxDecodeRows * kMaxAlternatives] on the device
  std::deque<Step> steps_;
  size_t next_copy_ = 0;
};

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_GPU_RESULTS_H_
