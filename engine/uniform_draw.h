// The uniform number behind a sampled token, from (seed, sample index) alone.
//
// Counter-based, so that neither the batch mates nor the order of the steps can change a draw. On
// the host and, constexpr, in kernels too.
#ifndef GLIMPSE_ENGINE_UNIFORM_DRAW_H_
#define GLIMPSE_ENGINE_UNIFORM_DRAW_H_

#include <cstdint>

namespace glimpse {

// The finalizer of SplitMix64 (Steele, Lea, Flood 2014).
constexpr uint64_t MixBits(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// In [0, 1): a multiple of 2^-32.
constexpr double UniformDraw(uint64_t seed, uint64_t sample_index) {
  constexpr uint64_t kGolden = 0x9e3779b97f4a7c15u;
  const uint64_t bits = MixBits(MixBits(seed + kGolden) + (sample_index + 1) * kGolden);
  return static_cast<double>(bits >> 32) * 0x1p-32;
}

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_UNIFORM_DRAW_H_
