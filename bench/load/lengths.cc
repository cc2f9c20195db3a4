#include "bench/load/lengths.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace glimpse::bench {

int Lengths::Draw(std::mt19937_64& random) const {
  if (mean_ == 0) return std::uniform_int_distribution<int>(low_, high_)(random);
  const double length = std::exponential_distribution<double>(1.0 / mean_)(random);
  return static_cast<int>(std::clamp<double>(std::round(length), low_, high_));
}

double Lengths::Mean() const { return mean_ > 0 ? mean_ : (double{1} * low_ + high_) / 2; }

bool AbslParseFlag(absl::string_view text, Lengths* lengths, std::string* error) {
  *error = "must be a length from 1, LOW:HIGH or exp:MEAN:MOST";
  const bool exponential = absl::ConsumePrefix(&text, "exp:");
  std::vector<int> numbers;
  for (const absl::string_view word : absl::StrSplit(text, ':')) {
    if (!absl::SimpleAtoi(word, &numbers.emplace_back()) || numbers.back() < 1) return false;
  }
  if (numbers.size() > 2 || (exponential && numbers.size() != 2)) return false;
  if (numbers.front() > numbers.back()) return false;
  lengths->low_ = exponential ? 1 : numbers.front();
  lengths->high_ = numbers.back();
  lengths->mean_ = exponential ? numbers.front() : 0;
  return true;
}

std::string AbslUnparseFlag(const Lengths& lengths) {
  if (lengths.mean_ > 0) return absl::StrCat("exp:", lengths.mean_, ":", lengths.high_);
  if (lengths.low_ == lengths.high_) return absl::StrCat(lengths.low_);
  return absl::StrCat(lengths.low_, ":", lengths.high_);
}

}  // namespace glimpse::bench
