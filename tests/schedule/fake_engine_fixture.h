// What the fake engine's own tests share: a picture and two ids, then one decoded token, as plans.
#ifndef GLIMPSE_TESTS_SCHEDULE_FAKE_ENGINE_FIXTURE_H_
#define GLIMPSE_TESTS_SCHEDULE_FAKE_ENGINE_FIXTURE_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "preprocess/status_macros.h"
#include "tests/fake_engine.h"

namespace glimpse {

inline ModelLimits FakeEngineLimits() {
  ModelLimits limits;
  limits.vocabulary_size = 1000003;
  limits.max_context = 64;
  limits.image_rows = 4;
  limits.vision_layers = 3;
  limits.max_batch_size = 2;
  limits.block_size = 2;
  limits.num_blocks = 8;
  return limits;
}

// A picture and two ids, then one decoded token.
struct FakeEngineSteps {
  int depth = 3;
  RgbImage image{1, 1, {9, 8, 7}};
  std::vector<int32_t> prompt = {90, 91, 92, 10, 11};
  StepPlan vision = OneRow(StepKind::kVision);
  StepPlan prefill = OneRow(StepKind::kPrefill);
  StepPlan decode = OneRow(StepKind::kDecode);

  FakeEngineSteps() {
    vision.rows[0].starts = true;
    vision.rows[0].prompt = &prompt;
    vision.rows[0].image = &image;
    vision.end_layer = FakeEngineLimits().vision_layers;
    StepRow& fed = prefill.rows[0];
    fed.tokens = {ImageRow(0), ImageRow(1), ImageRow(2), ImageRow(3), 10, 11};
    fed.positions = {0, 1, 1, 2, 3, 4};
    fed.blocks = {3, 1, 6};
    fed.samples = true;
    StepRow& next = decode.rows[0];
    next.tokens = {kLastToken};
    next.positions = {5};
    next.kv_length = 6;
    next.blocks = {3, 1, 6, 0};
    next.samples = true;
    next.sample_index = 1;
  }

  static StepPlan OneRow(StepKind kind) {
    StepPlan plan;
    plan.kind = kind;
    plan.rows.resize(1);
    plan.rows[0].sequence = 4;
    plan.rows[0].slot = 1;
    plan.rows[0].sampling.temperature = 0;
    plan.num_real_rows = 1;
    plan.bucket = kind == StepKind::kPrefill ? 64 : 1;
    return plan;
  }

  // The decoded token, where as many steps are in flight as `depth` allows.
  absl::StatusOr<int32_t> Answer() const {
    FakeEngine engine(FakeEngineOptions{FakeEngineLimits(), {}, {}, depth});
    int in_flight = 0;
    for (const StepPlan* plan : {&vision, &prefill, &decode}) {
      if (in_flight == depth) {
        GLIMPSE_RETURN_IF_ERROR(engine.Finish().status());
        --in_flight;
      }
      GLIMPSE_RETURN_IF_ERROR(engine.Launch(*plan));
      ++in_flight;
    }
    for (; in_flight > 1; --in_flight) GLIMPSE_RETURN_IF_ERROR(engine.Finish().status());
    GLIMPSE_ASSIGN_OR_RETURN(const StepOutput output, engine.Finish());
    return output.tokens[0].id;
  }
};

}  // namespace glimpse

#endif  // GLIMPSE_TESTS_SCHEDULE_FAKE_ENGINE_FIXTURE_H_
