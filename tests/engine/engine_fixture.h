// A small engine for tests and prompts that walk through it step by step.
//
// The environment variable GLIMPSE_TEST_DEVICE (cpu, the default, or cuda) chooses where it runs.
#ifndef GLIMPSE_TESTS_ENGINE_ENGINE_FIXTURE_H_
#define GLIMPSE_TESTS_ENGINE_ENGINE_FIXTURE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "engine/schedule/block_pool.h"
#include "engine/schedule/sequence.h"
#include "engine/schedule/step_plan.h"
#include "tests/engine/checkpoint_writer.h"

namespace glimpse {

std::string TestDevice();

// float32 on TestDevice(), four slots.
EngineOptions TestOptions(const std::string& model_dir);

// An engine on a checkpoint of checkpoint_writer.h's sizes, and the blocks of its cache.
class SmallEngine {
 public:
  explicit SmallEngine(bool with_vision = true, const std::string& dtype = "float32",
                       const std::string& device = TestDevice());

  Engine* operator->() { return engine_.get(); }
  Engine& operator*() { return *engine_; }
  BlockPool& blocks() { return *blocks_; }

 private:
  TemporaryDirectory directory_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<BlockPool> blocks_;
};

// `count` ids that are no special ones, the same for the same seed.
std::vector<int32_t> SomeIds(int count, uint32_t seed);

// A prompt in a slot, whose number is the sequence's too. Every call that runs a step requires it
// to succeed.
class Walker {
 public:
  // image_at < 0: no picture; else it stands before id number image_at, coloured by `shade`.
  Walker(SmallEngine* engine, int slot, std::vector<int32_t> ids, int image_at = -1,
         uint8_t shade = 0);

  int rows_left() const { return rows_ - fed_; }  // KV rows of the prompt that are not fed yet
  void EncodeImage();
  // For pictures in slices and in company.
  StepRow VisionRow() const { return sequence_->VisionRow(); }
  void Encoded(const StepRow& row) { sequence_->Advance(row); }

  StepRow Next(int count) const { return sequence_->NextRow(count); }
  void Fed(int count);

  // Feeds the next `count` rows in one step of its own; returns their logits.
  std::vector<float> Prefill(int count);
  std::vector<float> Decode();  // one row, in a padded step

 private:
  SmallEngine* engine_;
  std::unique_ptr<Sequence> sequence_;
  int rows_ = 0;
  int fed_ = 0;
};

StepPlan VisionPlan(std::vector<StepRow> rows, int first_layer, int end_layer);
StepPlan PrefillPlan(std::vector<StepRow> rows);
StepPlan DecodePlan(std::vector<StepRow> rows, int bucket = 4);

// All of the prompt in one step.
std::vector<float> LogitsInOneStep(SmallEngine* engine, int slot, const std::vector<int32_t>& ids,
                                   int image_at = -1, uint8_t shade = 0);

// Rows [first, first + count) of [rows, columns].
std::vector<float> Slice(const std::vector<float>& values, size_t columns, size_t first,
                         size_t count = 1);

// max|a - b| over the spread of b; infinite for other sizes.
double Deviation(const std::vector<float>& a, const std::vector<float>& b);

}  // namespace glimpse

#endif  // GLIMPSE_TESTS_ENGINE_ENGINE_FIXTURE_H_
