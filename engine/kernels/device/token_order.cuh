// A row's tokens in their order, likeliest first, and what is looked for in it.
#ifndef GLIMPSE_ENGINE_KERNELS_DEVICE_TOKEN_ORDER_CUH_
#define GLIMPSE_ENGINE_KERNELS_DEVICE_TOKEN_ORDER_CUH_

#include <cstdint>

#include "engine/kernels/device/token_mass.cuh"

namespace glimpse::kernels {

// A position in the order: the distance's bits, which ascend with it, then the id.
constexpr int kIdBits = 20;
__device__ inline uint64_t OrderOf(float distance, int id) {
  return static_cast<uint64_t>(__float_as_uint(distance)) << kIdBits | static_cast<uint32_t>(id);
}
__device__ inline float OrderDistance(uint64_t order) {
  return __uint_as_float(static_cast<uint32_t>(order >> kIdBits));
}
__device__ inline int OrderId(uint64_t order) {
  return static_cast<int>(order & ((1u << kIdBits) - 1));
}

// Ids and their mass: in units within a bin, as MassOf gives it across bins.
struct Tally {
  uint32_t ids = 0;
  uint64_t mass = 0;
};
__device__ inline Tally operator+(const Tally& a, const Tally& b) {
  return {a.ids + b.ids, a.mass + b.mass};
}

// What is searched for: the first token at which the ids, or the mass, up to it reach `value`.
struct Goal {
  bool by_rank;
  uint64_t value;
  __device__ bool Reached(const Tally& tally) const {
    return (by_rank ? tally.ids : tally.mass) >= value;
  }
};

// A stretch of the order, within a bin, that holds what is searched for.
struct Stretch {
  int bin;
  uint64_t first;  // order; the stretch is [first, first + 2^width) of the bin
  int width;
  uint32_t ids;           // in it
  uint64_t units;         // in it
  uint32_t ids_before;    // in the row
  uint64_t mass_before;   // of the bins before this one
  uint64_t units_before;  // in the bin

  // Of the row up to and with these of the stretch, `mass` in units.
  __device__ Tally Upto(const Tally& part) const {
    return {ids_before + part.ids, mass_before + MassOf(bin, units_before + part.mass)};
  }
  __device__ bool Holds(const TokenWeight& weight, uint64_t order) const {
    return weight.bin == bin && order - first < uint64_t{1} << width;
  }
};

}  // namespace glimpse::kernels

#endif  // GLIMPSE_ENGINE_KERNELS_DEVICE_TOKEN_ORDER_CUH_
