// Bfloat16 values side by side: eight as one 128-bit load or store, two in a register.
#ifndef GLIMPSE_ENGINE_KERNELS_DEVICE_PACK_CUH_
#define GLIMPSE_ENGINE_KERNELS_DEVICE_PACK_CUH_

#include <cuda_bf16.h>

#include <cstdint>

namespace glimpse::kernels {

constexpr int kPack = 8;  // values of a pack

struct alignas(16) Pack {
  __nv_bfloat162 pairs[kPack / 2];
};

// `index` counts packs, not values; `data` is 16-byte aligned.
__device__ inline Pack LoadPack(const __nv_bfloat16* data, long long index) {
  return reinterpret_cast<const Pack*>(data)[index];
}

__device__ inline void StorePack(__nv_bfloat16* data, long long index, const Pack& pack) {
  reinterpret_cast<Pack*>(data)[index] = pack;
}

__device__ inline void Unpack(const Pack& pack, float (&values)[kPack]) {
#pragma unroll
  for (int i = 0; i < kPack / 2; ++i) {
    const float2 pair = __bfloat1622float2(pack.pairs[i]);
    values[2 * i] = pair.x;
    values[2 * i + 1] = pair.y;
  }
}

// Two values in a register, rounded to the nearest, ties to even.
__device__ __forceinline__ uint32_t PackBf16(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return reinterpret_cast<const uint32_t&>(pair);
}

// Rounds as PackBf16.
__device__ inline Pack ToPack(const float (&values)[kPack]) {
  Pack pack;
#pragma unroll
  for (int i = 0; i < kPack / 2; ++i) {
    pack.pairs[i] = __floats2bfloat162_rn(values[2 * i], values[2 * i + 1]);
  }
  return pack;
}

}  // namespace glimpse::kernels

#endif  // GLIMPSE_ENGINE_KERNELS_DEVICE_PACK_CUH_
