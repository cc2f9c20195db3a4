// Chooses the next ids from the logits, a row for each sequence that samples.
//
// Order and meaning of the steps are those of transformers' generate(): repetition penalty over
// prompt and answer, temperature, top_k (ties with the k-th stay), top_p, then one draw. The draw
// is counter-based: (seed, sample index) alone give it, so the batch mates can't change an answer.
// temperature 0 is greedy, the lowest id among equals. Serving thread alone.
#ifndef GLIMPSE_ENGINE_SAMPLER_H_
#define GLIMPSE_ENGINE_SAMPLER_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/schedule/request.h"

namespace glimpse {

struct SampleRow {
  int slot = -1;
  SamplingParams params;
  uint64_t sample_index = 0;
};

class Sampler {
 public:
  Sampler(int num_slots, int vocabulary_size, at::Device device);

  // A new sequence takes the slot: forgets which ids the last one saw and notes the prompt's.
  void Start(int slot, const std::vector<int32_t>& prompt);

  // logits [rows, vocabulary] float32, one row for each of `rows`. INTERNAL: a row has a value that
  // is not finite; then nothing was sampled.
  absl::StatusOr<std::vector<SampledToken>> Sample(const at::Tensor& logits,
                                                   const std::vector<SampleRow>& rows);

 private:
  at::Tensor Penalise(const at::Tensor& logits, const std::vector<SampleRow>& rows,
                      const at::Tensor& slots) const;

  at::Tensor seen_;  // [slots, vocabulary] bool: ids that are in the slot's prompt or answer
};

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_SAMPLER_H_
