// The sampling kernel against the plain method: sort, cut, walk, in double.
#include <algorithm>
#include <numeric>

#include "engine/kernels/kernels.h"
#include "engine/uniform_draw.h"
#include "tests/kernels/kernel_test.h"

namespace glimpse {
namespace {

using kernels::SampleResult;
using kernels::SampleRow;

// One distribution's tokens, likeliest first, and what a row keeps of them, as engine/sampler.h
// defines it.
class SortedTokens {
 public:
  SortedTokens(const std::vector<float>& logits, const std::vector<bool>& seen, float penalty)
      : distances_(logits), ids_(logits.size()), places_(logits.size()) {
    for (size_t i = 0; i < logits.size(); ++i) {
      float& score = distances_[i];
      if (seen[i]) score = score < 0 ? score * penalty : score / penalty;
    }
    const float best = *std::max_element(distances_.begin(), distances_.end());
    for (float& score : distances_) score -= best;
    std::iota(ids_.begin(), ids_.end(), 0);
    std::stable_sort(ids_.begin(), ids_.end(),
                     [&](int32_t a, int32_t b) { return distances_[a] > distances_[b]; });
    for (size_t place = 0; place < ids_.size(); ++place) places_[ids_[place]] = int(place);
  }

  void Cut(const SampleRow& row) {
    const size_t k = row.top_k > 0 ? std::min<size_t>(row.top_k, ids_.size()) : ids_.size();
    double total = 0;
    mass_upto_.clear();
    for (const int32_t id : ids_) {
      if (distances_[id] < distances_[ids_[k - 1]]) break;
      total += std::exp(distances_[id] / double{row.temperature});
      mass_upto_.push_back(total);
    }
    size_t kept = 1;
    while (row.top_p < 1 && kept < mass_upto_.size() && mass_upto_[kept - 1] < row.top_p * total) {
      ++kept;
    }
    if (row.top_p < 1) mass_upto_.resize(kept);
  }

  // The place in the order of the token that this draw takes of those kept.
  int Draw(uint64_t seed, uint64_t sample_index) const {
    const double target = UniformDraw(seed, sample_index) * mass_upto_.back();
    return static_cast<int>(std::upper_bound(mass_upto_.begin(), mass_upto_.end(), target) -
                            mass_upto_.begin());
  }

  int PlaceOf(int32_t id) const { return places_[id]; }
  int kept() const { return static_cast<int>(mass_upto_.size()); }

 private:
  std::vector<float> distances_;  // from the best score, negative
  std::vector<int32_t> ids_;
  std::vector<int> places_;        // of each id
  std::vector<double> mass_upto_;  // of those kept
};

// Slots and rows on the device, the slots' bits on the host too.
class Table {
 public:
  Table(int slots, int vocabulary)
      : vocabulary_(vocabulary),
        seen_(std::vector<uint32_t>(size_t(slots) * kernels::SeenWords(vocabulary))),
        last_tokens_(std::vector<int32_t>(slots, -7)) {}

  void Start(int slot, const std::vector<int32_t>& prompt) {
    const DeviceArray<int32_t> device_prompt(prompt);
    kernels::StartSlot args;
    args.prompt = device_prompt.data();
    args.count = static_cast<int>(prompt.size());
    args.seen = seen_.data() + size_t(slot) * kernels::SeenWords(vocabulary_);
    args.vocabulary = vocabulary_;
    Launch(args, nullptr);
    CheckCuda(cudaDeviceSynchronize(), "StartSlot");
  }

  std::vector<SampleResult> Sample(const DeviceArray<float>& logits,
                                   const std::vector<SampleRow>& rows) {
    const DeviceArray<SampleRow> params(rows);
    const DeviceArray<SampleResult> results(rows.size());
    kernels::Sample args;
    args.logits = logits.data();
    args.params = params.data();
    args.seen = seen_.data();
    args.last_tokens = last_tokens_.data();
    args.results = results.data();
    args.rows = static_cast<int>(rows.size());
    args.vocabulary = vocabulary_;
    Launch(args, nullptr);
    return results.ToHost();
  }

  std::vector<int32_t> Ids(const std::vector<float>& logits, const std::vector<SampleRow>& rows) {
    std::vector<int32_t> ids;
    for (const SampleResult& result : Sample(DeviceArray<float>(logits), rows)) {
      CHECK(result.is_finite == 1);
      ids.push_back(result.id);
    }
    return ids;
  }

  std::vector<bool> Seen(int slot) const {
    const std::vector<uint32_t> words = seen_.ToHost();
    const size_t first = size_t(slot) * kernels::SeenWords(vocabulary_);
    std::vector<bool> seen;
    for (int id = 0; id < vocabulary_; ++id) seen.push_back(words[first + id / 32] >> id % 32 & 1);
    return seen;
  }
  std::vector<int32_t> LastTokens() const { return last_tokens_.ToHost(); }

 private:
  const int vocabulary_;
  const DeviceArray<uint32_t> seen_;
  const DeviceArray<int32_t> last_tokens_;
};

SampleRow Greedy(int slot) {
  SampleRow row;
  row.slot = slot;
  row.samples = 1;
  return row;
}

SampleRow Drawing(int slot, float temperature, int top_k, float top_p, uint64_t seed) {
  SampleRow row = Greedy(slot);
  row.temperature = temperature;
  row.top_k = top_k;
  row.top_p = top_p;
  row.seed = seed;
  return row;
}

std::vector<float> RandomLogits(int count, float deviation, int seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> logits(count);
  for (float& logit : logits) logit = deviation * normal(random);
  return logits;
}

std::vector<float> Repeat(const std::vector<float>& logits, int times) {
  std::vector<float> all;
  for (int i = 0; i < times; ++i) all.insert(all.end(), logits.begin(), logits.end());
  return all;
}

constexpr int kVocabulary = 151552;  // of GLM-4V-9B
constexpr int kRows = 64;

struct Agreement {
  int draws = 0;
  int different = 0;
};

// A draw a row, as the plain method has it or, where rounding decides, its neighbour in the order.
void CompareDraws(const DeviceArray<float>& logits, const std::vector<SampleRow>& rows,
                  const SortedTokens& expected, Table* table, Agreement* agreement) {
  const std::vector<SampleResult> results = table->Sample(logits, rows);
  for (size_t i = 0; i < rows.size(); ++i) {
    const int place = expected.PlaceOf(results[i].id);
    const int wanted = expected.Draw(rows[i].seed, rows[i].sample_index);
    if (place == wanted) continue;
    CAPTURE(rows[i].repetition_penalty, rows[i].temperature, rows[i].top_k, rows[i].top_p, i);
    CAPTURE(place, wanted, expected.kept());
    CHECK(std::abs(place - wanted) == 1);
    ++agreement->different;
  }
  agreement->draws += static_cast<int>(rows.size());
}

// Draws with each setting, `kRows` seeds each.
void Compare(const std::vector<float>& logits, Agreement* agreement) {
  const int vocabulary = static_cast<int>(logits.size());
  const DeviceArray<float> device_logits(Repeat(logits, kRows));
  std::vector<int32_t> prompt;
  for (int id = 0; id < vocabulary; id += 3) prompt.push_back(id);
  for (const float penalty : {1.0f, 1.3f}) {
    std::vector<bool> seen(vocabulary);
    for (const int32_t id : prompt) seen[id] = penalty != 1;
    SortedTokens expected(logits, seen, penalty);
    Table table(kRows, vocabulary);
    for (const float temperature : {0.05f, 0.8f, 7.0f}) {
      for (const int top_k : {0, 1, 50, 4000}) {
        for (const float top_p : {1.0f, 0.8f, 0.05f}) {
          std::vector<SampleRow> rows;
          for (int i = 0; i < kRows; ++i) {
            rows.push_back(Drawing(i, temperature, top_k, top_p, 1000 + agreement->draws + i));
            rows.back().repetition_penalty = penalty;
            rows.back().sample_index = i % 5;
            if (penalty != 1) table.Start(i, prompt);
          }
          expected.Cut(rows[0]);
          CompareDraws(device_logits, rows, expected, &table, agreement);
        }
      }
    }
  }
}

TEST_CASE("Sample draws what the sorted order in double gives", "[gpu]") {
  Agreement agreement;
  for (const int vocabulary : {1, 7, 33, 1000, 5001}) {
    Compare(RandomLogits(vocabulary, 1, vocabulary), &agreement);
  }
  for (const float deviation : {0.0f, 0.01f, 1.0f, 3.0f}) {
    Compare(RandomLogits(kVocabulary, deviation, 1), &agreement);
  }
  std::vector<float> steps = RandomLogits(kVocabulary, 2, 2);  // many equal
  for (float& logit : steps) logit = std::round(2 * logit) / 2;
  Compare(steps, &agreement);
  WARN(agreement.different << " of " << agreement.draws << " draws took the neighbour");
  CHECK(agreement.different <= agreement.draws / 1000);
}

TEST_CASE("Sample takes the largest logit, the lowest id among equals", "[gpu]") {
  Table table(2, 5);
  CHECK(table.Ids({1, 3, 2, 3, 0, -2, -2, -1, -0.0f, 0}, {Greedy(0), Greedy(1)}) ==
        std::vector<int32_t>{1, 3});
  for (const int vocabulary : {1, 31, 300, 5001, kVocabulary, 360448}) {
    std::vector<float> logits = RandomLogits(vocabulary, 1, 1);
    const int first = vocabulary / 3, second = vocabulary - 1;
    logits[first] = logits[second] = 100;
    Table one(1, vocabulary);
    CHECK(one.Ids(logits, {Greedy(0)}) == std::vector<int32_t>{first});
    const int32_t drawn = one.Ids(logits, {Drawing(0, 1e-38f, 0, 1, 3)})[0];
    CHECK((drawn == first || drawn == second));
  }
}

TEST_CASE("Sample's answer is the same bits alone and among others", "[gpu]") {
  std::vector<float> logits;
  std::vector<SampleRow> rows;
  for (int i = 0; i < kRows; ++i) {
    const std::vector<float> row = RandomLogits(kVocabulary, 0.5f * (1 + i % 6), i);
    logits.insert(logits.end(), row.begin(), row.end());
    rows.push_back(Drawing(i, 0.2f * (i % 9), i % 4 * 40, i % 3 == 0 ? 1.0f : 0.9f, i));
  }
  Table together(kRows, kVocabulary);
  const std::vector<SampleResult> all = together.Sample(DeviceArray<float>(logits), rows);
  for (int i = 0; i < kRows; ++i) {
    Table table(kRows, kVocabulary);
    const auto row = logits.begin() + int64_t{i} * kVocabulary;
    const DeviceArray<float> alone(std::vector<float>(row, row + kVocabulary));
    const SampleResult result = table.Sample(alone, {rows[i]})[0];
    CAPTURE(i);
    CHECK(result.id == all[i].id);
    CHECK(result.logprob == all[i].logprob);
  }
}

TEST_CASE("Sample notes the id in its slot, which the penalty then counts", "[gpu]") {
  Table table(3, 4);
  table.Start(1, {});
  SampleRow row = Greedy(1);
  row.repetition_penalty = 2;
  const std::vector<float> logits = {1, 5, 4, 3};
  CHECK(table.Ids(logits, {row}) == std::vector<int32_t>{1});
  CHECK(table.LastTokens() == std::vector<int32_t>{-7, 1, -7});
  CHECK(table.Seen(1) == std::vector<bool>{false, true, false, false});
  CHECK(table.Ids(logits, {row}) == std::vector<int32_t>{2});
  CHECK(table.Ids(logits, {row}) == std::vector<int32_t>{3});
  CHECK(table.Seen(0) == std::vector<bool>(4, false));
  table.Start(1, {2});
  CHECK(table.Ids({-9, -9, -1, -1.5f}, {row}) == std::vector<int32_t>{3});
}

TEST_CASE("Sample gives the log-probability of the raw logits", "[gpu]") {
  const int vocabulary = GENERATE(1, 77, kVocabulary);
  const float deviation = GENERATE(0.1f, 4.0f, 30.0f);
  const std::vector<float> logits = RandomLogits(vocabulary, deviation, 5);
  Table table(1, vocabulary);
  table.Start(0, {0, vocabulary - 1});
  SampleRow row = Drawing(0, 1.7f, 0, 1, 12);
  row.repetition_penalty = 3;
  const SampleResult result = table.Sample(DeviceArray<float>(logits), {row})[0];
  double sum = 0;
  for (const float logit : logits) sum += std::exp(double{logit});
  CHECK(result.logprob == Approx(logits[result.id] - std::log(sum)).margin(1e-5));
}

TEST_CASE("Sample reports logits that are not finite and leaves the slot alone", "[gpu]") {
  const float bad =
      GENERATE(std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
               -std::numeric_limits<float>::infinity());
  const int vocabulary = 5001, place = GENERATE(0, 2600, 5000);
  std::vector<float> logits = Repeat(RandomLogits(vocabulary, 1, 6), 3);
  logits[vocabulary + place] = bad;
  Table table(3, vocabulary);
  const std::vector<SampleResult> results =
      table.Sample(DeviceArray<float>(logits),
                   {Greedy(0), Drawing(1, 1, 5, 0.9f, 1), Drawing(2, 1, 5, 0.9f, 1)});
  CHECK(results[0].is_finite == 1);
  CHECK(results[1].is_finite == 0);
  CHECK(results[1].id == 0);
  CHECK(results[2].is_finite == 1);
  CHECK(table.LastTokens() == std::vector<int32_t>{results[0].id, -7, results[2].id});
  CHECK(table.Seen(1) == std::vector<bool>(vocabulary, false));
}

TEST_CASE("Sample passes over padding rows and rows without samples", "[gpu]") {
  const int vocabulary = 1000;
  std::vector<float> logits = RandomLogits(3 * vocabulary, 1, 7);
  logits[5] = std::numeric_limits<float>::quiet_NaN();
  SampleRow padding = Greedy(-1), silent = Drawing(1, 1, 0, 0.5f, 1);
  silent.samples = 0;
  Table table(3, vocabulary);
  const std::vector<SampleResult> results =
      table.Sample(DeviceArray<float>(logits), {padding, silent, Greedy(2)});
  CHECK(results[0].id == -1);  // as poisoned
  CHECK(results[1].id == -1);
  CHECK(results[2].is_finite == 1);
  CHECK(table.LastTokens() == std::vector<int32_t>{-7, -7, results[2].id});
  CHECK(table.Seen(1) == std::vector<bool>(vocabulary, false));
}

}  // namespace
}  // namespace glimpse
