// Matrix products of a warpgroup (four warps) with operands in shared memory (PTX: wgmma).
//
// Operands lie K-major in tiles of 64 columns of bfloat16 with the 128-byte swizzle, as the copy
// engine leaves them: eight rows are 1024 bytes, and a tile begins at a multiple of 1024.
#ifndef GLIMPSE_ENGINE_KERNELS_DEVICE_WGMMA_CUH_
#define GLIMPSE_ENGINE_KERNELS_DEVICE_WGMMA_CUH_

#include <cuda_runtime.h>

#include <cstdint>

namespace glimpse::kernels {

constexpr int kWarpgroup = 128;  // threads

// Of the tile at `address` in shared memory; + 2 k is the same tile from column 16 k on.
__device__ __forceinline__ uint64_t TileDescriptor(uint32_t address) {
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62;
  constexpr uint64_t kEightRows = uint64_t{1024 >> 4} << 32;
  constexpr uint64_t kUnused = uint64_t{1} << 16;  // the other stride: one swizzle wide
  return kSwizzle128 | kEightRows | kUnused | (address & 0x3FFFF) >> 4;
}

// Before the first product that reads these registers or what was written to shared memory.
__device__ __forceinline__ void WgmmaFence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

__device__ __forceinline__ void WgmmaCommit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

// Until at most `kPending` of the committed groups are still running.
template <int kPending>
__device__ __forceinline__ void WgmmaWait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

// sum += a b^T with a [64, 16] and b [kColumns, 16]. Of the result [64, kColumns], lane l of warp w
// holds rows 16 w + l / 4 + {0, 8} and columns 8 i + 2 (l % 4) + {0, 1}: sum[4 i + 2 * (row is the
// second) + (column is the second)].
template <int kColumns>
__device__ __forceinline__ void Wgmma(float (&sum)[kColumns / 2], uint64_t a, uint64_t b);

#define GLIMPSE_ACC4(i) "+f"(sum[i]), "+f"(sum[i + 1]), "+f"(sum[i + 2]), "+f"(sum[i + 3])
#define GLIMPSE_ACC16(i) \
  GLIMPSE_ACC4(i), GLIMPSE_ACC4(i + 4), GLIMPSE_ACC4(i + 8), GLIMPSE_ACC4(i + 12)

template <>
__device__ __forceinline__ void Wgmma<8>(float (&sum)[4], uint64_t a, uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%0, %1, %2, %3}, %4, %5, 1, 1, 1, 0, 0;"
      : GLIMPSE_ACC4(0)
      : "l"(a), "l"(b));
}

template <>
__device__ __forceinline__ void Wgmma<16>(float (&sum)[8], uint64_t a, uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n16k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, %6, %7}, "
      "%8, %9, 1, 1, 1, 0, 0;"
      : GLIMPSE_ACC4(0), GLIMPSE_ACC4(4)
      : "l"(a), "l"(b));
}

template <>
__device__ __forceinline__ void Wgmma<32>(float (&sum)[16], uint64_t a, uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, %6, %7, "
      "%8, %9, %10, %11, %12, %13, %14, %15}, %16, %17, 1, 1, 1, 0, 0;"
      : GLIMPSE_ACC16(0)
      : "l"(a), "l"(b));
}

template <>
__device__ __forceinline__ void Wgmma<64>(float (&sum)[32], uint64_t a, uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, %6, %7, "
      "%8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, "
      "%26, %27, %28, %29, %30, %31}, %32, %33, 1, 1, 1, 0, 0;"
      : GLIMPSE_ACC16(0), GLIMPSE_ACC16(16)
      : "l"(a), "l"(b));
}

#undef GLIMPSE_ACC16
#undef GLIMPSE_ACC4

}  // namespace glimpse::kernels

#endif  // GLIMPSE_ENGINE_KERNELS_DEVICE_WGMMA_CUH_
