#include "engine/sampler.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/topk.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <limits>
#include <string>

#include "absl/status/status.h"
#include "engine/uniform_draw.h"
#include "preprocess/check.h"

namespace glimpse {
namespace {

// One number a row -> [rows, 1] on the device.
template <typename Value>
at::Tensor Column(const std::vector<SampleRow>& rows, const at::Tensor& like, Value value) {
  std::vector<double> values;
  for (const SampleRow& row : rows) values.push_back(static_cast<double>(value(row)));
  return at::from_blob(values.data(), {static_cast<int64_t>(values.size()), 1},
                       at::TensorOptions().dtype(at::kDouble))
      .to(like.device(), at::kDouble, /*non_blocking=*/false, /*copy=*/true);
}

template <typename Predicate>
bool Any(const std::vector<SampleRow>& rows, Predicate predicate) {
  return std::any_of(rows.begin(), rows.end(), predicate);
}

// scores [rows, vocabulary], after the penalty -> [rows, 1] ids. Greedy rows get a draw too, which
// the caller throws away.
at::Tensor Draw(const at::Tensor& scores, const std::vector<SampleRow>& rows) {
  const int64_t vocabulary = scores.size(1);
  const at::Tensor temperature = Column(rows, scores, [](const SampleRow& row) {
    return row.params.temperature > 0 ? row.params.temperature : 1.0f;
  });
  const at::Tensor top_k = Column(rows, scores, [&](const SampleRow& row) {
    return row.params.top_k > 0 ? std::min<int64_t>(row.params.top_k, vocabulary) : vocabulary;
  });
  // Twice anything that a sum of probabilities can reach, so that rounding cuts nothing.
  const at::Tensor top_p = Column(rows, scores, [](const SampleRow& row) {
    return row.params.top_p < 1 ? row.params.top_p : 2.0f;
  });
  const at::Tensor uniform = Column(rows, scores, [](const SampleRow& row) {
    return UniformDraw(row.params.seed, row.sample_index);
  });

  // The best score becomes 0 before the division: a tiny temperature must not overflow it.
  const at::Tensor scaled = (scores - scores.amax(1, /*keepdim=*/true)) / temperature;
  const auto [sorted, ids] = at::sort(scaled, /*stable=*/true, /*dim=*/1, /*descending=*/true);
  const at::Tensor kth = sorted.gather(1, top_k.to(at::kLong) - 1);
  const at::Tensor kept =
      sorted.masked_fill(sorted < kth, -std::numeric_limits<double>::infinity());
  at::Tensor probability = at::softmax(kept, 1);
  // An id stays while those before it have not reached top_p; the first one always does.
  probability = probability * (probability.cumsum(1) - probability < top_p);
  const at::Tensor sum = probability.cumsum(1);
  const at::Tensor target = uniform * sum.narrow(1, vocabulary - 1, 1);
  return ids.gather(1, (sum <= target).sum(1, /*keepdim=*/true));
}

void AddAlternatives(const at::Tensor& logprobs, const std::vector<SampleRow>& rows,
                     std::vector<SampledToken>* tokens) {
  int64_t most = 0;
  for (const SampleRow& row : rows) most = std::max<int64_t>(most, row.params.top_logprobs);
  most = std::min(most, logprobs.size(1));
  if (most == 0) return;
  const auto [values_there, ids_there] = at::topk(logprobs, most, /*dim=*/1);
  const at::Tensor values = values_there.cpu(), ids = ids_there.cpu();
  for (size_t i = 0; i < rows.size(); ++i) {
    const int64_t row = static_cast<int64_t>(i);
    const int64_t wanted = std::min<int64_t>(most, rows[i].params.top_logprobs);
    for (int64_t k = 0; k < wanted; ++k) {
      const int64_t at = row * most + k;
      (*tokens)[i].top.push_back({static_cast<int32_t>(ids.const_data_ptr<int64_t>()[at]),
                                  values.const_data_ptr<float>()[at]});
    }
  }
}

}  // namespace

Sampler::Sampler(int num_slots, int vocabulary_size, at::Device device)
    : seen_(at::zeros({num_slots, vocabulary_size},
                      at::TensorOptions().dtype(at::kBool).device(device))) {}

void Sampler::Start(int slot, const std::vector<int32_t>& prompt) {
  at::Tensor seen = seen_.select(0, slot);
  seen.zero_();
  if (prompt.empty()) return;
  std::vector<int64_t> ids(prompt.begin(), prompt.end());
  const at::Tensor index = at::from_blob(ids.data(), {static_cast<int64_t>(ids.size())},
                                         at::TensorOptions().dtype(at::kLong));
  seen.index_fill_(0, index.to(seen.device()), true);
}

absl::StatusOr<std::vector<SampledToken>> Sampler::Sample(const at::Tensor& logits,
                                                          const std::vector<SampleRow>& rows) {
  GLIMPSE_CHECK(logits.size(0) == static_cast<int64_t>(rows.size()), "one logits row a SampleRow");
  const at::Tensor slots =
      Column(rows, logits, [](const SampleRow& row) { return row.slot; }).flatten().to(at::kLong);
  const at::Tensor scores = Penalise(logits, rows, slots);
  at::Tensor ids = scores.argmax(1, /*keepdim=*/true);  // the first of equals
  if (Any(rows, [](const SampleRow& row) { return row.params.temperature > 0; })) {
    const at::Tensor samples =
        Column(rows, logits, [](const SampleRow& row) { return row.params.temperature; }) > 0;
    ids = at::where(samples, Draw(scores, rows), ids);
  }
  seen_.index_put_({slots, ids.flatten()}, at::ones({}, seen_.options()));

  const at::Tensor logprobs = at::log_softmax(logits, 1);
  const at::Tensor finite = logits.isfinite().all(1, /*keepdim=*/true);
  // Everything the host needs, in one copy: [rows, 3].
  const at::Tensor result =
      at::cat(
          {ids.to(at::kDouble), logprobs.gather(1, ids).to(at::kDouble), finite.to(at::kDouble)}, 1)
          .cpu();
  std::vector<SampledToken> tokens(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    const double* values = result.const_data_ptr<double>() + 3 * i;
    if (values[2] == 0) {
      return absl::InternalError("the model's output is not finite in slot " +
                                 std::to_string(rows[i].slot));
    }
    tokens[i].id = static_cast<int32_t>(values[0]);
    tokens[i].logprob = static_cast<float>(values[1]);
  }
  AddAlternatives(logprobs, rows, &tokens);
  return tokens;
}

// As transformers' RepetitionPenaltyLogitsProcessor: a seen id's score is divided by the penalty if
// positive and multiplied if negative.
at::Tensor Sampler::Penalise(const at::Tensor& logits, const std::vector<SampleRow>& rows,
                             const at::Tensor& slots) const {
  if (!Any(rows, [](const SampleRow& row) { return row.params.repetition_penalty != 1; })) {
    return logits;
  }
  const at::Tensor penalty = Column(rows, logits, [](const SampleRow& row) {
                               return row.params.repetition_penalty;
                             }).to(at::kFloat);
  const at::Tensor punished = at::where(logits < 0, logits * penalty, logits / penalty);
  return at::where(seen_.index_select(0, slots), punished, logits);
}

}  // namespace glimpse
