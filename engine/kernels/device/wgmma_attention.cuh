// The two matrix products of flash attention on a warpgroup (PTX: wgmma), beside wgmma.cuh: with a
// first product that starts the sum, with an operand in registers, and with one that lies MN-major.
#ifndef GLIMPSE_ENGINE_KERNELS_DEVICE_WGMMA_ATTENTION_CUH_
#define GLIMPSE_ENGINE_KERNELS_DEVICE_WGMMA_ATTENTION_CUH_

#include "engine/kernels/device/wgmma.cuh"

namespace glimpse::kernels {

// A descriptor (TileDescriptor) is kept as its lower half, the only one that differs, so that steps
// from one to the next are 32-bit additions.
__device__ __forceinline__ uint64_t Descriptor(uint32_t low) {
  return (TileDescriptor(0) >> 32 << 32) | low;
}

// Of a tile at `address`, 64 columns wide, K-major; + 2 k is the same tile from column 16 k on.
__device__ __forceinline__ uint32_t ScoresOperand(uint32_t address) {
  return static_cast<uint32_t>(TileDescriptor(address));
}

// Of values [keys, channels] at `address`, channels in tiles of 64 with the 128-byte swizzle that
// lie `tile_bytes` apart; + 128 k is the same from key 16 k on.
__device__ __forceinline__ uint32_t ValuesOperand(uint32_t address, int tile_bytes) {
  return tile_bytes >> 4 << 16 | (address & 0x3FFFF) >> 4;
}

// sum = q k^T, or sum += q k^T if `add`: q [64, 16] and k [kKeys, 16] in shared memory, K-major.
// The sum lies over the lanes as Wgmma's.
template <int kKeys>
__device__ __forceinline__ void AddScores(float (&sum)[kKeys / 2], uint32_t q, uint32_t k,
                                          bool add);

// sum += p v: p [64, 16] in registers, two bfloat16 each, which lane l of warp w holds for the rows
// and columns r + {0, 8, 0, 8}, c + {0, 0, 8, 8}, r = 16 w + l / 4, c = 2 (l % 4): so the sums of a
// product with 16 columns, packed in their order, are such an operand. v [16, kChannels] in shared
// memory, a key's channels side by side.
template <int kChannels>
__device__ __forceinline__ void AddValues(float (&sum)[kChannels / 2], const uint32_t* p,
                                          uint32_t v);

#define GLIMPSE_ACC4(i) "+f"(sum[i]), "+f"(sum[i + 1]), "+f"(sum[i + 2]), "+f"(sum[i + 3])
#define GLIMPSE_ACC8(i) GLIMPSE_ACC4(i), GLIMPSE_ACC4(i + 4)
#define GLIMPSE_ACC16(i) GLIMPSE_ACC8(i), GLIMPSE_ACC8(i + 8)

template <>
__device__ __forceinline__ void AddScores<96>(float (&sum)[48], uint32_t q, uint32_t k, bool add) {
  asm volatile(
      "{\n.reg .pred add;\nsetp.ne.b32 add, %50, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n96k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, %6, %7, "
      "%8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, "
      "%26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, "
      "%43, %44, %45, %46, %47}, "
      "%48, %49, add, 1, 1, 0, 0;\n}"
      : GLIMPSE_ACC16(0), GLIMPSE_ACC16(16), GLIMPSE_ACC16(32)
      : "l"(Descriptor(q)), "l"(Descriptor(k)), "r"(static_cast<int>(add)));
}

template <>
__device__ __forceinline__ void AddScores<128>(float (&sum)[64], uint32_t q, uint32_t k, bool add) {
  asm volatile(
      "{\n.reg .pred add;\nsetp.ne.b32 add, %66, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, %6, %7, "
      "%8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, "
      "%26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, "
      "%43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, "
      "%60, %61, %62, %63}, "
      "%64, %65, add, 1, 1, 0, 0;\n}"
      : GLIMPSE_ACC16(0), GLIMPSE_ACC16(16), GLIMPSE_ACC16(32), GLIMPSE_ACC16(48)
      : "l"(Descriptor(q)), "l"(Descriptor(k)), "r"(static_cast<int>(add)));
}

template <>
__device__ __forceinline__ void AddValues<112>(float (&sum)[56], const uint32_t* p, uint32_t v) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n112k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, %6, %7, "
      "%8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, "
      "%26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, "
      "%43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55}, "
      "{%56, %57, %58, %59}, %60, 1, 1, 1, 1;"
      : GLIMPSE_ACC16(0), GLIMPSE_ACC16(16), GLIMPSE_ACC16(32), GLIMPSE_ACC8(48)
      : "r"(p[0]), "r"(p[1]), "r"(p[2]), "r"(p[3]), "l"(Descriptor(v)));
}

template <>
__device__ __forceinline__ void AddValues<128>(float (&sum)[64], const uint32_t* p, uint32_t v) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, %6, %7, "
      "%8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, "
      "%26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, "
      "%43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, "
      "%60, %61, %62, %63}, "
      "{%64, %65, %66, %67}, %68, 1, 1, 1, 1;"
      : GLIMPSE_ACC16(0), GLIMPSE_ACC16(16), GLIMPSE_ACC16(32), GLIMPSE_ACC16(48)
      : "r"(p[0]), "r"(p[1]), "r"(p[2]), "r"(p[3]), "l"(Descriptor(v)));
}

#undef GLIMPSE_ACC16
#undef GLIMPSE_ACC8
#undef GLIMPSE_ACC4

}  // namespace glimpse::kernels

#endif  // GLIMPSE_ENGINE_KERNELS_DEVICE_WGMMA_ATTENTION_CUH_
