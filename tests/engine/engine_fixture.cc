#include "tests/engine/engine_fixture.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <random>
#include <utility>

namespace glimpse {
namespace {

constexpr std::initializer_list<int32_t> kImageIds = {61, 62, 63};

RgbImage Picture(int size, uint8_t shade) {
  RgbImage image{size, size, std::vector<uint8_t>(static_cast<size_t>(size) * size * 3)};
  for (size_t i = 0; i < image.pixels.size(); ++i) {
    image.pixels[i] = static_cast<uint8_t>(shade + i * i % 97);
  }
  return image;
}

StepPlan Plan(StepKind kind, std::vector<StepRow> rows) {
  StepPlan plan;
  plan.kind = kind;
  plan.num_real_rows = static_cast<int>(rows.size());
  plan.rows = std::move(rows);
  return plan;
}

}  // namespace

std::string TestDevice() {
  const char* device = std::getenv("GLIMPSE_TEST_DEVICE");
  return device == nullptr ? "cpu" : device;
}

EngineOptions TestOptions(const std::string& model_dir) {
  EngineOptions options;
  options.model_dir = model_dir;
  options.device = TestDevice();
  options.dtype = "float32";
  options.max_batch_size = 4;
  return options;
}

SmallEngine::SmallEngine(bool with_vision, const std::string& dtype, const std::string& device) {
  MakeCheckpoint(SmallConfig(with_vision)).Write(directory_.path());
  EngineOptions options = TestOptions(directory_.path());
  options.dtype = dtype;
  options.device = device;
  absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::Create(options);
  INFO(engine.status());
  REQUIRE(engine.ok());
  engine_ = *std::move(engine);
  blocks_ = std::make_unique<BlockPool>(engine_->limits().num_blocks);
}

std::vector<int32_t> SomeIds(int count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<int32_t> ids(static_cast<size_t>(count));
  for (int32_t& id : ids) id = static_cast<int32_t>(random() % 58);
  return ids;
}

Walker::Walker(SmallEngine* engine, int slot, std::vector<int32_t> ids, int image_at, uint8_t shade)
    : engine_(engine) {
  const ModelLimits& limits = (*engine)->limits();
  auto request = std::make_unique<Request>();
  request->prompt = std::move(ids);
  request->sampling.temperature = 0;
  request->max_tokens = 1;
  if (image_at >= 0) {
    request->prompt.insert(request->prompt.begin() + image_at, kImageIds);
    request->image_at = image_at;
    request->image = Picture(limits.image_size, shade);
  }
  REQUIRE(CheckCanRun(*request, limits).ok());
  rows_ = static_cast<int>(KvRowsNeeded(*request, limits)) - request->max_tokens;
  auto blocks = engine->blocks().Allocate(static_cast<int>(KvBlocksNeeded(*request, limits)));
  REQUIRE(blocks.has_value());
  sequence_ =
      std::make_unique<Sequence>(slot, slot, *std::move(blocks), std::move(request), &limits);
}

void Walker::EncodeImage() {
  if (sequence_->phase() != Sequence::Phase::kVision) return;
  const StepRow row = sequence_->VisionRow();
  REQUIRE(RunStep(**engine_, VisionPlan({row}, 0, (*engine_)->limits().vision_layers)).ok());
  sequence_->Advance(row);
}

void Walker::Fed(int count) {
  sequence_->Advance(Next(count));
  fed_ += count;
}

std::vector<float> Walker::Prefill(int count) {
  EncodeImage();
  count = std::min(count, rows_left());
  absl::StatusOr<std::vector<float>> logits = (*engine_)->Logits(PrefillPlan({Next(count)}));
  INFO(logits.status());
  REQUIRE(logits.ok());
  Fed(count);
  return *std::move(logits);
}

std::vector<float> Walker::Decode() {
  absl::StatusOr<std::vector<float>> logits = (*engine_)->Logits(DecodePlan({Next(1)}));
  INFO(logits.status());
  REQUIRE(logits.ok());
  Fed(1);
  return *std::move(logits);
}

StepPlan VisionPlan(std::vector<StepRow> rows, int first_layer, int end_layer) {
  StepPlan plan = Plan(StepKind::kVision, std::move(rows));
  plan.bucket = plan.num_real_rows;
  plan.first_layer = first_layer;
  plan.end_layer = end_layer;
  return plan;
}

StepPlan PrefillPlan(std::vector<StepRow> rows) {
  StepPlan plan = Plan(StepKind::kPrefill, std::move(rows));
  for (const StepRow& row : plan.rows) plan.bucket += static_cast<int>(row.tokens.size());
  return plan;
}

StepPlan DecodePlan(std::vector<StepRow> rows, int bucket) {
  StepPlan plan = Plan(StepKind::kDecode, std::move(rows));
  plan.bucket = bucket;
  StepRow padding;
  padding.tokens = padding.positions = {0};
  plan.rows.resize(static_cast<size_t>(bucket), padding);
  return plan;
}

std::vector<float> LogitsInOneStep(SmallEngine* engine, int slot, const std::vector<int32_t>& ids,
                                   int image_at, uint8_t shade) {
  Walker walker(engine, slot, ids, image_at, shade);
  return walker.Prefill(walker.rows_left());
}

std::vector<float> Slice(const std::vector<float>& values, size_t columns, size_t first,
                         size_t count) {
  const auto begin = values.begin() + static_cast<std::ptrdiff_t>(first * columns);
  return std::vector<float>(begin, begin + static_cast<std::ptrdiff_t>(count * columns));
}

double Deviation(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size() || b.empty()) return std::numeric_limits<double>::infinity();
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(static_cast<double>(a[i]) - b[i]);
    if (!std::isfinite(difference)) return std::numeric_limits<double>::infinity();
    worst = std::max(worst, difference);
  }
  const auto [low, high] = std::minmax_element(b.begin(), b.end());
  return worst / (*high - *low);
}

}  // namespace glimpse
