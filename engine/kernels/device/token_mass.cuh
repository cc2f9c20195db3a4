// Probability mass as integers: sums come out the same in every order, so a draw is the same
// whatever the other rows and whichever thread was first.
//
// A token at distance d below the best score weighs 2^-y, y = d / (temperature ln 2). Bins are 1/48
// of y wide; a bin's weight is 2^-(its first y), and a token in it counts as 2^22 units less a loss
// that is below 2^16, because 2^(1/48) is near 1. So a bin's mass is two sums that fit in 32 bits
// each, the number of ids and their losses, which shared memory adds atomically: exact but for a
// rounding of 2^-23 of each token's own weight. The last bin is the tail, all with y > 21.3: its
// tokens count as units of 2^-37 of the best one's weight, and what is far below that as nothing.
#ifndef GLIMPSE_ENGINE_KERNELS_DEVICE_TOKEN_MASS_CUH_
#define GLIMPSE_ENGINE_KERNELS_DEVICE_TOKEN_MASS_CUH_

#include <cstdint>

#include "engine/kernels/device/exp2.cuh"

namespace glimpse::kernels {

constexpr int kBinBits = 10;
constexpr int kBins = 1 << kBinBits;
constexpr int kTail = kBins - 1;
constexpr uint32_t kWholeUnits = 1 << 22;
constexpr int kTailUnitBits = 37;
constexpr int kMassBits = 41;     // the best token's mass is about 2^41, so a row's fits in 64 bits
constexpr int kMaxChunk = 45056;  // ids of a block, which may then all lie in one bin
constexpr int kBinsPerHalving = 48;
constexpr float kBinMargin = 1.0f / 64;  // of a bin: rounding may put a token that far outside

struct TokenWeight {
  int bin;
  uint32_t part;  // loss in units; in the tail, units
};

// Of so many ids whose parts have this sum.
__device__ inline uint64_t UnitsOf(int bin, uint32_t ids, uint64_t parts) {
  return bin == kTail ? parts : static_cast<uint64_t>(ids) * kWholeUnits - parts;
}

// Monotone in units.
__device__ inline uint64_t MassOf(int bin, uint64_t units) {
  if (bin == kTail) return units << (kMassBits - kTailUnitBits);
  constexpr double kFirst = kMassBits - 22 + (0.5 + kBinMargin) / kBinsPerHalving;
  const double weight = exp2(fma(static_cast<double>(bin), -1.0 / kBinsPerHalving, kFirst));
  return __double2ull_rd(__dmul_rn(static_cast<double>(units), weight));
}

// Distances to weights at one temperature.
class TokenScale {
 public:
  __device__ explicit TokenScale(float temperature) {
    constexpr double kInverseLn2 = 1.4426950408889634;
    // Kept within float's range, for a temperature near zero as for a huge one.
    const double scale = fmin(fmax(kBinsPerHalving * kInverseLn2 / temperature, 1e-30), 3e38);
    high_ = static_cast<float>(scale);
    low_ = static_cast<float>(scale - high_);
  }

  // `distance` >= 0. The bin is monotone in it. The intrinsics keep the compiler from fusing what
  // must round the same wherever this is inlined. Without a branch, so that several can overlap.
  __device__ TokenWeight Weigh(float distance) const {
    constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
    const float z = __fmul_rn(distance, high_);
    const bool in_tail = !(z < kTail - 0.5f);
    const float units = FastExp2(__fmaf_rn(z, -1.0f / kBinsPerHalving, kTailUnitBits));

    // The place within the bin, from its middle on, in twice float's precision.
    const float shifted = __fadd_rn(z, kRound);
    const float middle = __fsub_rn(shifted, kRound);
    const float place = __fmaf_rn(distance, low_, __fmaf_rn(distance, high_, -middle));
    // kWholeUnits (1 - 2^-((place + 1/2 + margin) / 48)) as a series about the middle.
    constexpr double kStep = 0.6931471805599453 / kBinsPerHalving;
    constexpr double kAtMiddle =
        kWholeUnits *
        (1 - (0.5 + kBinMargin) * kStep *
                 (1 - (0.5 + kBinMargin) * kStep / 2 * (1 - (0.5 + kBinMargin) * kStep / 3)));
    constexpr float kFirst = kAtMiddle * kStep;
    constexpr float kSecond = -kAtMiddle * kStep * kStep / 2;
    constexpr float kThird = kAtMiddle * kStep * kStep * kStep / 6;
    const float slope = __fmaf_rn(place, __fmaf_rn(place, kThird, kSecond), kFirst);
    const float loss = __fmaf_rn(place, slope, static_cast<float>(kWholeUnits - kAtMiddle));

    const uint32_t part = __float_as_uint(__fadd_rn(in_tail ? units : loss, kRound));
    return {in_tail ? kTail : __float_as_int(shifted) - __float_as_int(kRound),
            part - __float_as_uint(kRound)};
  }

  // A distance that is below all of the bin's.
  __device__ float Below(int bin) const {
    return bin == 0 ? 0.0f : __fdiv_rn(static_cast<float>(bin) - 0.75f, high_);
  }
  // One that is above all of them.
  __device__ float Above(int bin) const {
    return bin == kTail ? __uint_as_float(0x7f800000u)
                        : __fdiv_rn(static_cast<float>(bin) + 0.75f, high_);
  }

 private:
  float high_, low_;  // bins a distance of 1
};

}  // namespace glimpse::kernels

#endif  // GLIMPSE_ENGINE_KERNELS_DEVICE_TOKEN_MASS_CUH_
