// How many tokens: a distribution, and its form as a flag.
//
//   512            always 512
//   16:1024        every length from 16 to 1024 equally often
//   exp:256:2048   exponential with mean 256, cut at 1 and 2048: many short ones, few long ones
#ifndef GLIMPSE_BENCH_LOAD_LENGTHS_H_
#define GLIMPSE_BENCH_LOAD_LENGTHS_H_

#include <random>
#include <string>

#include "absl/strings/string_view.h"

namespace glimpse::bench {

class Lengths {
 public:
  explicit Lengths(int constant) : low_(constant), high_(constant) {}

  int Draw(std::mt19937_64& random) const;  // >= 1
  int most() const { return high_; }
  double Mean() const;  // of the exponential form: before it is cut

 private:
  // Abseil's extension points for flags.
  friend bool AbslParseFlag(absl::string_view text, Lengths* lengths, std::string* error);
  friend std::string AbslUnparseFlag(const Lengths& lengths);

  int low_;       // >= 1
  int high_;      // >= low_
  int mean_ = 0;  // of the exponential form; 0 for the others
};

bool AbslParseFlag(absl::string_view text, Lengths* lengths, std::string* error);
std::string AbslUnparseFlag(const Lengths& lengths);

}  // namespace glimpse::bench

#endif  // GLIMPSE_BENCH_LOAD_LENGTHS_H_
