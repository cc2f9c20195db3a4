// Prepares the sampler's slots for the sequences that begin in a step.
#ifndef GLIMPSE_ENGINE_SLOT_STARTER_H_
#define GLIMPSE_ENGINE_SLOT_STARTER_H_

#include <cuda_runtime_api.h>

#include "engine/decode_model.h"
#include "engine/gpu_inputs.h"
#include "engine/schedule/step_plan.h"
#include "engine/upload_area.h"

namespace glimpse {

class SlotStarter {
 public:
  SlotStarter(int num_slots, int max_context, at::Device device);

  // For each row that starts: its slot forgets the last sequence and notes the prompt's ids.
  void Start(const StepPlan& plan, const SamplerState& sampler, int vocabulary,
             cudaStream_t stream);

 private:
  UploadArea area_{kStepsInFlight};
  UploadArea::Array<int32_t> prompts_;  // those of the step, one after the other
};

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_SLOT_STARTER_H_
