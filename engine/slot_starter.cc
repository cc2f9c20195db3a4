#include "engine/slot_starter.h"

#include <algorithm>

#include "preprocess/check.h"

namespace glimpse {

SlotStarter::SlotStarter(int num_slots, int max_context, at::Device device) {
  prompts_ = area_.Add<int32_t>(int64_t{num_slots} * max_context);
  area_.Allocate(device);
}

void SlotStarter::Start(const StepPlan& plan, const SamplerState& sampler, int vocabulary,
                        cudaStream_t stream) {
  const auto starts = [](const StepRow& row) { return row.slot >= 0 && row.starts; };
  if (std::none_of(plan.rows.begin(), plan.rows.end(), starts)) return;
  area_.Turn();
  int64_t end = 0;
  for (const StepRow& row : plan.rows) {
    if (!starts(row) || row.prompt == nullptr) continue;
    GLIMPSE_CHECK(end + static_cast<int64_t>(row.prompt->size()) <= prompts_.count,
                  "prompts longer than the context");
    std::copy(row.prompt->begin(), row.prompt->end(), area_.host(prompts_) + end);
    end += static_cast<int64_t>(row.prompt->size());
  }
  if (end > 0) area_.Upload(stream, end * static_cast<int64_t>(sizeof(int32_t)));

  const int32_t* prompt = area_.device(prompts_);
  const int words = kernels::SeenWords(vocabulary);
  for (const StepRow& row : plan.rows) {
    if (!starts(row)) continue;
    const int count = row.prompt == nullptr ? 0 : static_cast<int>(row.prompt->size());
    uint32_t* seen = static_cast<uint32_t*>(sampler.seen.data_ptr()) + int64_t{row.slot} * words;
    Launch(kernels::StartSlot{prompt, count, seen, vocabulary}, stream);
    prompt += count;
  }
}

}  // namespace glimpse
