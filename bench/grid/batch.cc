#include "bench/grid/batch.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "engine/schedule/scheduler.h"
#include "preprocess/check.h"

namespace glimpse::bench {
namespace {

constexpr int kTextBefore = 4;  // ids in front of a picture
constexpr int kFirstId = 100;   // of those in a prompt

RgbImage Noise(int size) {
  RgbImage image{size, size, std::vector<uint8_t>(static_cast<size_t>(size) * size * 3)};
  uint32_t bits = 1;
  for (uint8_t& value : image.pixels) {
    bits = bits * 1664525 + 1013904223;
    value = static_cast<uint8_t>(bits >> 24);
  }
  return image;
}

// KV rows of a sequence after prefill.
int64_t Context(const Shape& shape, const ModelLimits& limits) {
  return int64_t{shape.text} + (shape.picture ? limits.image_rows : 0);
}

}  // namespace

absl::Status Batch::Check(const Shape& shape, const ModelLimits& limits) {
  if (shape.batch < 1 || shape.text <= kTextBefore || limits.vocabulary_size <= kFirstId) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a batch needs a sequence, not ", shape.batch, ", its text more than ", kTextBefore,
        " tokens, not ", shape.text, ", and the model more than ", kFirstId, " ids"));
  }
  const int64_t context = Context(shape, limits);
  const int64_t blocks = context / limits.block_size + 1;  // one more token's too
  if (shape.batch <= limits.max_batch_size && context < limits.max_context &&
      shape.batch * blocks <= limits.num_blocks) {
    return absl::OkStatus();
  }
  return absl::ResourceExhaustedError(absl::StrCat(
      "no room for ", shape.batch, " sequences of ", context + 1, " tokens: there are ",
      limits.max_batch_size, " slots and ", limits.num_blocks, " KV blocks"));
}

Batch::Batch(const Shape& shape, const ModelLimits& limits)
    : shape_(shape), limits_(limits), context_(static_cast<int>(Context(shape, limits))) {
  GLIMPSE_CHECK(Check(shape, limits).ok(), "a batch that the engine does not take");
  for (int i = 0; i < shape.text; ++i) {
    prompt_.push_back(kFirstId + i * 7 % std::min(50000, limits.vocabulary_size - kFirstId));
  }
  if (shape.picture) image_ = Noise(limits.image_size);
}

StepRow Batch::Row(int slot, int first, int count) const {
  const int image_rows = shape_.picture ? limits_.image_rows : 0;
  StepRow row;
  row.sequence = row.slot = slot;
  row.kv_length = first;
  row.sampling.temperature = 0;
  for (int i = first; i < first + count; ++i) {
    const int in_image = i - kTextBefore;
    if (in_image >= 0 && in_image < image_rows) {
      // The picture's patches share one place between those of its begin and its end.
      row.tokens.push_back(ImageRow(in_image));
      row.positions.push_back(kTextBefore + (in_image == 0               ? 0
                                             : in_image < image_rows - 1 ? 1
                                                                         : 2));
    } else {
      const int id = in_image < 0 ? i : i - image_rows;
      row.tokens.push_back(id < shape_.text ? prompt_[id] : kLastToken);
      row.positions.push_back(in_image < 0 || image_rows == 0 ? i : i - image_rows + 3);
    }
  }
  const int blocks = (first + count + limits_.block_size - 1) / limits_.block_size;
  const int per_slot = limits_.num_blocks / shape_.batch;
  for (int i = 0; i < blocks; ++i) row.blocks.push_back(slot * per_slot + i);
  return row;
}

std::vector<StepPlan> Batch::Vision() const {
  std::vector<StepPlan> plans;
  const int most = SchedulerOptions().max_vision_rows;
  for (int slot = 0; slot < (shape_.picture ? shape_.batch : 0); ++slot) {
    if (slot % most == 0) {
      plans.emplace_back().kind = StepKind::kVision;
      plans.back().end_layer = limits_.vision_layers;
    }
    StepRow row = Row(slot, 0, 0);
    row.image = &image_;
    row.starts = true;
    row.prompt = &prompt_;
    plans.back().rows.push_back(std::move(row));
    plans.back().bucket = ++plans.back().num_real_rows;
  }
  return plans;
}

std::vector<StepPlan> Batch::Prefill() const {
  std::vector<StepPlan> plans;
  int room = 0;
  for (int slot = 0; slot < shape_.batch; ++slot) {
    for (int first = 0; first < context_;) {
      if (room == 0) {
        plans.emplace_back().kind = StepKind::kPrefill;
        room = SchedulerOptions().max_prefill_tokens;
      }
      const int count = std::min(room, context_ - first);
      StepRow row = Row(slot, first, count);
      row.starts = first == 0 && !shape_.picture;
      if (row.starts) row.prompt = &prompt_;
      row.samples = first + count == context_;
      plans.back().rows.push_back(std::move(row));
      ++plans.back().num_real_rows;
      first += count;
      room -= count;
    }
  }
  for (StepPlan& plan : plans) plan.bucket = buckets_.PrefillTokens(plan.NumTokens());
  return plans;
}

StepPlan Batch::Decode() const {
  StepPlan plan;
  plan.kind = StepKind::kDecode;
  plan.num_real_rows = shape_.batch;
  plan.bucket = buckets_.DecodeRows(shape_.batch);
  for (int slot = 0; slot < shape_.batch; ++slot) {
    plan.rows.push_back(Row(slot, context_, 1));
    plan.rows.back().samples = true;
  }
  StepRow padding;
  padding.tokens = padding.positions = {0};
  plan.rows.resize(static_cast<size_t>(plan.bucket), padding);
  return plan;
}

}  // namespace glimpse::bench
