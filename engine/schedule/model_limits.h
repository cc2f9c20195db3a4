// What the scheduler and the server need to know of the loaded model; plain numbers from
// config.json and flags.
#ifndef GLIMPSE_ENGINE_SCHEDULE_MODEL_LIMITS_H_
#define GLIMPSE_ENGINE_SCHEDULE_MODEL_LIMITS_H_

#include <cstdint>
#include <vector>

namespace glimpse {

struct ModelLimits {
  int vocabulary_size = 0;  // rows of the output layer
  // KV rows of one sequence, prompt (picture expanded) and answer together.
  int max_context = 0;
  int image_size = 0;  // pixels a side; 0: a text-only checkpoint
  // Rows that a picture's three ids become, begin and end included (1602 for the 9B).
  int image_rows = 0;
  int vision_layers = 0;  // of the tower: what a vision step can be sliced into
  std::vector<int32_t> stop_ids;
  int max_batch_size = 0;  // slots: sequences running at the same time
  int block_size = 0;      // KV rows a block
  int num_blocks = 0;      // KV blocks altogether
};

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_SCHEDULE_MODEL_LIMITS_H_
