// A token a row from the logits of the 9B's vocabulary. In a decode step the head's product has
// just left them in the L2 cache, where they stay here too: one set of buffers.
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "bench/kernels/cases.h"

namespace glimpse::bench {
namespace {

using kernels::SampleRow;

constexpr int kVocabulary = 151552;

struct Setting {
  const char* name;
  float deviation;  // of the normal logits
  SampleRow row;
};

SampleRow Row(float temperature, int top_k, float top_p) {
  SampleRow row;
  row.temperature = temperature;
  row.top_k = top_k;
  row.top_p = top_p;
  row.samples = 1;
  return row;
}

std::vector<float> Logits(int rows, float deviation) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, deviation);
  std::vector<float> logits(static_cast<size_t>(rows) * kVocabulary);
  for (float& logit : logits) logit = normal(random);
  return logits;
}

Case SampleCase(const Setting& setting, int rows) {
  auto memory = std::make_shared<DeviceMemory>();
  std::vector<SampleRow> params(static_cast<size_t>(rows), setting.row);
  for (int i = 0; i < rows; ++i) {
    params[static_cast<size_t>(i)].slot = i;
    params[static_cast<size_t>(i)].seed = static_cast<uint64_t>(i);
  }
  kernels::Sample args;
  args.logits = memory->Copy(Logits(rows, setting.deviation));
  args.params = memory->Copy(params);
  args.seen = memory->Zeros<uint32_t>(int64_t{rows} * kernels::SeenWords(kVocabulary));
  args.last_tokens = memory->Zeros<int32_t>(rows);
  args.results = memory->Zeros<kernels::SampleResult>(rows);
  args.rows = rows;
  args.vocabulary = kVocabulary;
  const double bytes = 4.0 * rows * kVocabulary;
  return {"sample", std::to_string(rows) + " rows, " + setting.name, bytes, 0,
          memory,   InTurn(std::vector<kernels::Sample>{args})};
}

Case TopLogprobsCase(int rows) {
  auto memory = std::make_shared<DeviceMemory>();
  kernels::TopLogprobs args;
  args.logits = memory->Copy(Logits(rows, 3));
  args.count = 20;
  args.ids = memory->Zeros<int32_t>(int64_t{rows} * args.count);
  args.logprobs = memory->Zeros<float>(int64_t{rows} * args.count);
  args.rows = rows;
  args.vocabulary = kVocabulary;
  return {"top_logprobs",
          std::to_string(rows) + " rows, 20",
          4.0 * rows * kVocabulary,
          0,
          memory,
          InTurn(std::vector<kernels::TopLogprobs>{args})};
}

}  // namespace

std::vector<Case> SampleCases() {
  const Setting settings[] = {
      {"greedy", 3, Row(0, 0, 1)},
      {"top_p 0.8", 3, Row(0.8f, 0, 0.8f)},
      {"top_k 50, top_p 0.8", 3, Row(0.8f, 50, 0.8f)},
      {"top_p 0.8, flat", 1, Row(0.8f, 0, 0.8f)},
  };
  std::vector<Case> cases;
  for (const int rows : {4, 64}) {
    for (const Setting& setting : settings) cases.push_back(SampleCase(setting, rows));
    cases.push_back(TopLogprobsCase(rows));
  }
  return cases;
}

}  // namespace glimpse::bench
