#include "engine/gpu_results.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "engine/gpu_inputs.h"
#include "engine/kernels/cuda_error.h"
#include "preprocess/check.h"

namespace glimpse {
namespace {

constexpr int kMaxAlternatives = 20;

void CopyToHost(const at::Tensor& from, const at::Tensor& to, int64_t bytes, cudaStream_t stream) {
  CheckCuda(cudaMemcpyAsync(to.data_ptr(), from.const_data_ptr(), static_cast<size_t>(bytes),
                            cudaMemcpyDeviceToHost, stream),
            "download of a step's results");
}

}  // namespace

GpuResults::GpuResults(int vocabulary, at::Device device) : vocabulary_(vocabulary) {
  const at::TensorOptions pinned = at::TensorOptions().pinned_memory(true);
  const int64_t most = kMaxDecodeRows * kMaxAlternatives;
  const int64_t result_bytes = kMaxDecodeRows * static_cast<int64_t>(sizeof(kernels::SampleResult));
  for (int i = 0; i < kStepsInFlight; ++i) {
    Copy& copy = copies_.emplace_back();
    copy.results = at::empty({result_bytes}, pinned.dtype(at::kByte));
    copy.ids = at::empty({most}, pinned.dtype(at::kInt));
    copy.logprobs = at::empty({most}, pinned.dtype(at::kFloat));
    CheckCuda(cudaEventCreateWithFlags(&copy.done, cudaEventDisableTiming), "event");
  }
  ids_ = at::empty({most}, at::TensorOptions().dtype(at::kInt).device(device));
  logprobs_ = at::empty({most}, at::TensorOptions().dtype(at::kFloat).device(device));
}

GpuResults::~GpuResults() {
  for (Copy& copy : copies_) cudaEventDestroy(copy.done);
}

GpuResults::Step GpuResults::StepOf(const StepPlan& plan) const {
  GLIMPSE_CHECK(steps_.size() < copies_.size(), "more steps in flight than depth");
  Step step;
  step.copy = next_copy_;
  int next = 0;
  for (size_t i = 0; i < plan.rows.size(); ++i) {
    const StepRow& row = plan.rows[i];
    if (row.slot < 0) continue;
    Wanted& wanted = step.rows.emplace_back();
    if (!row.samples) continue;
    wanted.at = plan.kind == StepKind::kDecode ? static_cast<int>(i) : next++;
    wanted.slot = row.slot;
    wanted.alternatives =
        std::clamp(row.sampling.top_logprobs, 0, std::min(kMaxAlternatives, vocabulary_));
    step.alternatives = std::max(step.alternatives, wanted.alternatives);
  }
  return step;
}

void GpuResults::End(Step step, cudaStream_t stream) {
  CheckCuda(cudaEventRecord(copies_[step.copy].done, stream), "event");
  next_copy_ = (next_copy_ + 1) % copies_.size();
  steps_.push_back(std::move(step));
}

void GpuResults::Expect(const StepPlan& plan, cudaStream_t stream) {
  Step step = StepOf(plan);
  for (Wanted& wanted : step.rows) wanted.at = -1;
  End(std::move(step), stream);
}

void GpuResults::Read(const StepPlan& plan, const at::Tensor& results, const at::Tensor& logits,
                      cudaStream_t stream) {
  Step step = StepOf(plan);
  const Copy& copy = copies_[step.copy];
  CopyToHost(results, copy.results, copy.results.numel(), stream);
  if (step.alternatives > 0) {
    int rows = 0;
    for (const Wanted& wanted : step.rows) rows = std::max(rows, wanted.at + 1);
    Launch(kernels::TopLogprobs{logits.const_data_ptr<float>(), ids_.data_ptr<int32_t>(),
                                logprobs_.data_ptr<float>(), rows, vocabulary_, step.alternatives},
           stream);
    const int64_t bytes = int64_t{rows} * step.alternatives * 4;
    CopyToHost(ids_, copy.ids, bytes, stream);
    CopyToHost(logprobs_, copy.logprobs, bytes, stream);
  }
  End(std::move(step), stream);
}

absl::StatusOr<StepOutput> GpuResults::Take() {
  GLIMPSE_CHECK(!steps_.empty(), "no step was launched");
  const Step step = std::move(steps_.front());
  steps_.pop_front();
  const Copy& copy = copies_[step.copy];
  CheckCuda(cudaEventSynchronize(copy.done), "a step");
  const auto* results = static_cast<const kernels::SampleResult*>(copy.results.const_data_ptr());
  StepOutput output;
  for (const Wanted& wanted : step.rows) {
    SampledToken& token = output.tokens.emplace_back();
    if (wanted.at < 0) continue;
    const kernels::SampleResult& result = results[wanted.at];
    if (!result.is_finite) {
      return absl::InternalError("the model's output is not finite in slot " +
                                 std::to_string(wanted.slot));
    }
    token.id = result.id;
    token.logprob = result.logprob;
    const int first = wanted.at * step.alternatives;
    for (int i = first; i < first + wanted.alternatives; ++i) {
      token.top.push_back(
          {copy.ids.const_data_ptr<int32_t>()[i], copy.logprobs.const_data_ptr<float>()[i]});
    }
  }
  return output;
}

}  // namespace glimpse
