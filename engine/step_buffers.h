// The device side of a StepPlan: what the language model reads in one step.
//
//   buffers.Fill(plan, cache, /*all_logits=*/false);
//   hidden = model.Forward(buffers.inputs(), ...);
//
// Fill is the only writer. Its tensors keep their addresses from step to step as long as no step is
// larger than every step before. What a padding row of the plan holds is not looked at: in a decode
// step it becomes id 0 at position 0 with length 0, whose key and value go to the cache's trash
// row; a prefill step leaves it out. Serving thread alone.
#ifndef GLIMPSE_ENGINE_STEP_BUFFERS_H_
#define GLIMPSE_ENGINE_STEP_BUFFERS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "engine/kv_cache.h"
#include "engine/schedule/step_plan.h"

namespace glimpse {

// One sequence's run of tokens in a prefill step.
struct PrefillSpan {
  int64_t row = 0;          // of block_table and lengths
  int64_t first_token = 0;  // in the packed tokens
  int64_t num_tokens = 0;
  int64_t kv_length = 0;  // tokens of the sequence that are in the cache already
};

// Neighbouring tokens that take neighbouring rows of a picture in place of an embedded id.
struct ImageSpan {
  int slot = -1;
  int64_t first_token = 0;  // in the packed tokens
  int64_t first_row = 0;    // of the slot's picture
  int64_t num_rows = 0;
};

struct StepInputs {
  at::Tensor tokens;       // [tokens] int64 ids; 0 where a picture's row stands
  at::Tensor positions;    // [tokens] int64, rotary
  at::Tensor write_rows;   // [tokens] int64, cache rows that take the tokens' keys and values
  at::Tensor block_table;  // [rows, most blocks of a row] int64, 0 behind a row's last
  at::Tensor lengths;      // [rows] int64: tokens of each sequence, this step's included
  at::Tensor sample_rows;  // [samples] int64: the tokens whose logits are wanted
  int64_t longest = 0;     // the largest of `lengths`, at least 1
  std::vector<PrefillSpan> spans;  // a real row each; empty in a decode step
  std::vector<ImageSpan> images;   // ordered by token
};

class StepBuffers {
 public:
  explicit StepBuffers(at::Device device) : device_(device) {}

  // `all_logits`: every real row's every token is wanted, not just the sampled ones.
  void Fill(const StepPlan& plan, const KvCache& cache, bool all_logits);
  const StepInputs& inputs() const { return inputs_; }

 private:
  // A list of integers at one device address, which moves only to grow.
  class Array {
   public:
    at::Tensor Set(const std::vector<int64_t>& values, at::Device device);

   private:
    at::Tensor storage_;
  };
  struct Lists;  // the host side of StepInputs

  const at::Device device_;
  Array tokens_, positions_, write_rows_, block_table_, lengths_, sample_rows_;
  StepInputs inputs_;
};

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_STEP_BUFFERS_H_
