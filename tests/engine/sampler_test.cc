#include "engine/sampler.h"

#include <ATen/ops/from_blob.h>
#include <ATen/ops/randn.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "engine/uniform_draw.h"
#include "tests/engine/engine_fixture.h"

namespace glimpse {
namespace {

at::Device Device() { return at::Device(TestDevice()); }

// The same logits in each of `count` rows.
at::Tensor Rows(std::vector<float> logits, int64_t count) {
  return at::from_blob(logits.data(), {1, static_cast<int64_t>(logits.size())},
                       at::dtype(at::kFloat))
      .to(Device())
      .repeat({count, 1});
}

SampleRow Row(int slot, SamplingParams params, uint64_t sample_index = 0) {
  return SampleRow{slot, params, sample_index};
}

SamplingParams Greedy() {
  SamplingParams params;
  params.temperature = 0;
  return params;
}

std::vector<int32_t> Ids(Sampler* sampler, const at::Tensor& logits,
                         const std::vector<SampleRow>& rows) {
  const auto tokens = sampler->Sample(logits, rows);
  REQUIRE(tokens.ok());
  std::vector<int32_t> ids;
  for (const SampledToken& token : *tokens) ids.push_back(token.id);
  return ids;
}

// How often each of the ids came in `draws` draws of one distribution, a seed a draw.
std::vector<int> Counts(const std::vector<float>& probabilities, SamplingParams params, int draws) {
  std::vector<float> logits;
  for (float p : probabilities) logits.push_back(std::log(p));
  std::vector<SampleRow> rows;
  for (int i = 0; i < draws; ++i) {
    params.seed = static_cast<uint64_t>(i);
    rows.push_back(Row(0, params, static_cast<uint64_t>(i % 3)));
  }
  Sampler sampler(1, static_cast<int>(logits.size()), Device());
  std::vector<int> counts(probabilities.size());
  for (int32_t id : Ids(&sampler, Rows(logits, draws), rows)) ++counts[static_cast<size_t>(id)];
  return counts;
}

double ChiSquare(const std::vector<int>& counts, const std::vector<double>& expected, int draws) {
  double sum = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    const double mean = expected[i] * draws;
    sum += (counts[i] - mean) * (counts[i] - mean) / mean;
  }
  return sum;
}

constexpr int kDraws = 20000;
constexpr double kChiSquare4 = 18.47;  // four degrees of freedom, exceeded once in 1000
const std::vector<float> kFive = {0.4f, 0.3f, 0.15f, 0.1f, 0.05f};

TEST_CASE("greedy takes the largest logit, the lowest id among equals") {
  Sampler sampler(2, 5, Device());
  CHECK(Ids(&sampler, Rows({1, 3, 2, 3, 0}, 2), {Row(0, Greedy()), Row(1, Greedy())}) ==
        std::vector<int32_t>{1, 1});
}

TEST_CASE("top_k of one is greedy whatever the seed and the temperature") {
  const at::Tensor logits = at::randn({1, 1000}, at::TensorOptions().device(Device()));
  Sampler sampler(1, 1000, Device());
  const std::vector<int32_t> best = Ids(&sampler, logits, {Row(0, Greedy())});
  SamplingParams params;
  params.top_k = 1;
  params.temperature = 2;
  for (params.seed = 0; params.seed < 20; ++params.seed) {
    CHECK(Ids(&sampler, logits, {Row(0, params)}) == best);
  }
}

TEST_CASE("a row's draw depends on its seed and index alone, not on its batch mates") {
  const at::Tensor logits = at::randn({6, 500}, at::TensorOptions().device(Device()));
  SamplingParams params;
  params.temperature = 1.5f;
  params.top_p = 0.95f;
  params.seed = 42;
  SamplingParams other;
  other.seed = 7;
  Sampler sampler(4, 500, Device());
  for (uint64_t index = 0; index < 20; ++index) {
    const SampleRow row = Row(3, params, index);
    const int32_t alone = Ids(&sampler, logits.narrow(0, 4, 1), {row})[0];
    CHECK(Ids(&sampler, logits,
              {Row(0, Greedy()), Row(1, other), Row(2, other), Row(0, other), row,
               Row(1, Greedy())})[4] == alone);
  }
}

TEST_CASE("draws follow the distribution") {
  CHECK(ChiSquare(Counts(kFive, SamplingParams(), kDraws), {0.4, 0.3, 0.15, 0.1, 0.05}, kDraws) <
        kChiSquare4);
}

TEST_CASE("temperature sharpens the distribution") {
  SamplingParams params;
  params.temperature = 0.5f;  // squares the probabilities: .16 .09 .0225 .01 .0025 of .285
  CHECK(ChiSquare(Counts(kFive, params, kDraws),
                  {0.16 / 0.285, 0.09 / 0.285, 0.0225 / 0.285, 0.01 / 0.285, 0.0025 / 0.285},
                  kDraws) < kChiSquare4);
}

TEST_CASE("a temperature near zero is greedy, not an overflow") {
  SamplingParams params;
  params.temperature = 1e-38f;
  const std::vector<int> counts = Counts({0.1f, 0.2f, 0.7f}, params, 50);
  CHECK(counts == std::vector<int>{0, 0, 50});
}

TEST_CASE("top_p keeps the smallest set of likeliest ids that reaches it") {
  SamplingParams params;
  params.top_p = 0.65f;  // .4 does not reach it, .4 + .3 does
  const std::vector<int> counts = Counts(kFive, params, kDraws);
  CHECK(counts[2] + counts[3] + counts[4] == 0);
  CHECK(ChiSquare({counts[0], counts[1]}, {0.4 / 0.7, 0.3 / 0.7}, kDraws) < 10.83);
}

TEST_CASE("top_p never drops the likeliest id") {
  SamplingParams params;
  params.top_p = 1e-6f;
  CHECK(Counts(kFive, params, 100)[0] == 100);
}

TEST_CASE("top_k keeps the k likeliest and those equal to the last of them") {
  SamplingParams params;
  params.top_k = 2;
  const std::vector<int> counts = Counts({0.4f, 0.2f, 0.2f, 0.1f, 0.1f}, params, kDraws);
  CHECK(counts[3] + counts[4] == 0);
  CHECK(ChiSquare({counts[0], counts[1], counts[2]}, {0.5, 0.25, 0.25}, kDraws) < 13.82);
  params.top_k = 100;  // more than there are
  CHECK(Counts(kFive, params, kDraws)[4] > 0);
}

TEST_CASE("top_p counts only what top_k has left") {
  SamplingParams params;
  params.top_k = 2;     // .4 and .3, which are .571 and .429 of what is left
  params.top_p = 0.5f;  // so the first alone reaches it
  CHECK(Counts(kFive, params, 100)[0] == 100);
}

TEST_CASE("the repetition penalty divides positive and multiplies negative logits of seen ids") {
  Sampler sampler(1, 4, Device());
  SamplingParams params = Greedy();
  params.repetition_penalty = 2;
  SECTION("a positive logit is halved") {
    sampler.Start(0, {1});
    CHECK(Ids(&sampler, Rows({2.1f, 4.0f, 0, 0}, 1), {Row(0, params)})[0] == 0);
    sampler.Start(0, {1});
    CHECK(Ids(&sampler, Rows({1.9f, 4.0f, 0, 0}, 1), {Row(0, params)})[0] == 1);
  }
  SECTION("a negative logit is doubled") {
    sampler.Start(0, {1, 2});
    CHECK(Ids(&sampler, Rows({-1.9f, -1.0f, -9, -9}, 1), {Row(0, params)})[0] == 0);
    sampler.Start(0, {1, 2});
    CHECK(Ids(&sampler, Rows({-2.1f, -1.0f, -9, -9}, 1), {Row(0, params)})[0] == 1);
  }
  SECTION("the answer's own ids count, those of the slot's last sequence do not") {
    const at::Tensor logits = Rows({1, 5, 4, 3}, 1);
    sampler.Start(0, {});
    CHECK(Ids(&sampler, logits, {Row(0, params, 0)})[0] == 1);
    CHECK(Ids(&sampler, logits, {Row(0, params, 1)})[0] == 2);
    CHECK(Ids(&sampler, logits, {Row(0, params, 2)})[0] == 3);
    sampler.Start(0, {});
    CHECK(Ids(&sampler, logits, {Row(0, params, 0)})[0] == 1);
  }
}

TEST_CASE("log-probabilities are those of the raw logits, likeliest first") {
  Sampler sampler(2, 5, Device());
  SamplingParams params = Greedy();
  params.repetition_penalty = 3;
  params.top_logprobs = 3;
  std::vector<float> logits;
  for (float p : kFive) logits.push_back(std::log(p));
  sampler.Start(0, {0});
  sampler.Start(1, {});
  const auto tokens = sampler.Sample(Rows(logits, 2), {Row(0, params), Row(1, Greedy())});
  REQUIRE(tokens.ok());
  const SampledToken& token = (*tokens)[0];
  CHECK(token.id == 1);  // the penalty has put 0 behind
  CHECK(token.logprob == Approx(std::log(0.3)));
  REQUIRE(token.top.size() == 3);
  CHECK(token.top[0].id == 0);
  CHECK(token.top[0].logprob == Approx(std::log(0.4)));
  CHECK(token.top[2].id == 2);
  CHECK((*tokens)[1].top.empty());
}

TEST_CASE("logits that are not finite are an error, not a token") {
  Sampler sampler(2, 3, Device());
  const float bad =
      GENERATE(std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity());
  at::Tensor logits = Rows({1, 2, 3}, 2);
  logits.select(0, 1).select(0, 2).fill_(bad);
  SamplingParams params = GENERATE(Greedy(), SamplingParams());
  const auto tokens = sampler.Sample(logits, {Row(0, params), Row(1, params)});
  CHECK(tokens.status().code() == absl::StatusCode::kInternal);
}

TEST_CASE("UniformDraw lies from 0 to below 1 and is flat over seeds and over indices") {
  for (const bool by_seed : {true, false}) {
    std::vector<int> counts(10);
    for (uint64_t i = 0; i < 100000; ++i) {
      const double draw = by_seed ? UniformDraw(i, 3) : UniformDraw(3, i);
      REQUIRE(draw >= 0);
      REQUIRE(draw < 1);
      ++counts[static_cast<size_t>(draw * 10)];
    }
    // Nine degrees of freedom, exceeded once in 1000.
    CHECK(ChiSquare(counts, std::vector<double>(10, 0.1), 100000) < 27.88);
  }
}

}  // namespace
}  // namespace glimpse
