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

// The compiler may neither read nor write `values` across this: it doesn't know that products in
// flight do.
template <int kCount>
__device__ __forceinline__ void HoldRegisters(float (&values)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(values[i])::"memory");
}

// sum += a b^T with a [64, 16] and b [kColumns, 16]. Of the result [64, kColumns], lane l of warp w
// holds rows 16 w + l / 4 + {0, 8} and columns 8 i + 2 (l % 4) + {0, 1}: sum[4 i + 2 * (row is the
// second) + (column is the second)].
template <int kColumns>
__device__ __forceinline__ void Wgmma(float (&sum)[kColumns / 2], uint64_t a, uint64_t b);

#define GLIMPSE_ACC4(i) "+f"(sum[i]), "+f"(sum[i + 1]), "+f"(sum[i + 2]), "+f"(sum[i + 3])
#define GLIMPSE_ACC8(i) GLIMPSE_ACC4(i), GLIMPSE_ACC4(i + 4)
#define GLIMPSE_ACC16(i) GLIMPSE_ACC8(i), GLIMPSE_ACC8(i + 8)
#define GLIMPSE_ACC32(i) GLIMPSE_ACC16(i), GLIMPSE_ACC16(i + 16)
#define GLIMPSE_ACC64(i) GLIMPSE_ACC32(i), GLIMPSE_ACC32(i + 32)

// The names of a product's registers: those of the columns before, and of the last ones.
#define GLIMPSE_NAMES8 "%0, %1, %2, %3"
#define GLIMPSE_NAMES16 GLIMPSE_NAMES8 ", %4, %5, %6, %7"
#define GLIMPSE_NAMES32 GLIMPSE_NAMES16 ", %8, %9, %10, %11, %12, %13, %14, %15"
#define GLIMPSE_NAMES48 GLIMPSE_NAMES32 ", %16, %17, %18, %19, %20, %21, %22, %23"
#define GLIMPSE_NAMES64 GLIMPSE_NAMES48 ", %24, %25, %26, %27, %28, %29, %30, %31"
#define GLIMPSE_NAMES80 GLIMPSE_NAMES64 ", %32, %33, %34, %35, %36, %37, %38, %39"
#define GLIMPSE_NAMES96 GLIMPSE_NAMES80 ", %40, %41, %42, %43, %44, %45, %46, %47"
#define GLIMPSE_NAMES112 GLIMPSE_NAMES96 ", %48, %49, %50, %51, %52, %53, %54, %55"
#define GLIMPSE_NAMES128 GLIMPSE_NAMES112 ", %56, %57, %58, %59, %60, %61, %62, %63"
#define GLIMPSE_NAMES144 GLIMPSE_NAMES128 ", %64, %65, %66, %67, %68, %69, %70, %71"
#define GLIMPSE_NAMES160 GLIMPSE_NAMES144 ", %72, %73, %74, %75, %76, %77, %78, %79"
#define GLIMPSE_NAMES176 GLIMPSE_NAMES160 ", %80, %81, %82, %83, %84, %85, %86, %87"
#define GLIMPSE_NAMES192 GLIMPSE_NAMES176 ", %88, %89, %90, %91, %92, %93, %94, %95"
#define GLIMPSE_NAMES208 GLIMPSE_NAMES192 ", %96, %97, %98, %99, %100, %101, %102, %103"
#define GLIMPSE_NAMES224 GLIMPSE_NAMES208 ", %104, %105, %106, %107, %108, %109, %110, %111"
#define GLIMPSE_NAMES240 GLIMPSE_NAMES224 ", %112, %113, %114, %115, %116, %117, %118, %119"
#define GLIMPSE_NAMES256 GLIMPSE_NAMES240 ", %120, %121, %122, %123, %124, %125, %126, %127"

// The operands come behind the sums: as number columns / 2 and the next.
#define GLIMPSE_WGMMA(columns, a_name, b_name, ...)                                        \
  template <>                                                                              \
  __device__ __forceinline__ void Wgmma<columns>(float(&sum)[columns / 2], uint64_t a,     \
                                                 uint64_t b) {                             \
    asm volatile("wgmma.mma_async.sync.aligned.m64n" #columns                              \
                 "k16.f32.bf16.bf16 {" GLIMPSE_NAMES##columns "}, %" #a_name ", %" #b_name \
                                                              ", 1, 1, 1, 0, 0;"           \
                 : __VA_ARGS__                                                             \
                 : "l"(a), "l"(b));                                                        \
  }
GLIMPSE_WGMMA(8, 4, 5, GLIMPSE_ACC4(0))
GLIMPSE_WGMMA(16, 8, 9, GLIMPSE_ACC8(0))
GLIMPSE_WGMMA(32, 16, 17, GLIMPSE_ACC16(0))
GLIMPSE_WGMMA(64, 32, 33, GLIMPSE_ACC32(0))
GLIMPSE_WGMMA(80, 40, 41, GLIMPSE_ACC32(0), GLIMPSE_ACC8(32))
GLIMPSE_WGMMA(96, 48, 49, GLIMPSE_ACC32(0), GLIMPSE_ACC16(32))
GLIMPSE_WGMMA(112, 56, 57, GLIMPSE_ACC32(0), GLIMPSE_ACC16(32), GLIMPSE_ACC8(48))
GLIMPSE_WGMMA(128, 64, 65, GLIMPSE_ACC64(0))
GLIMPSE_WGMMA(144, 72, 73, GLIMPSE_ACC64(0), GLIMPSE_ACC8(64))
GLIMPSE_WGMMA(160, 80, 81, GLIMPSE_ACC64(0), GLIMPSE_ACC16(64))
GLIMPSE_WGMMA(176, 88, 89, GLIMPSE_ACC64(0), GLIMPSE_ACC16(64), GLIMPSE_ACC8(80))
GLIMPSE_WGMMA(192, 96, 97, GLIMPSE_ACC64(0), GLIMPSE_ACC32(64))
GLIMPSE_WGMMA(208, 104, 105, GLIMPSE_ACC64(0), GLIMPSE_ACC32(64), GLIMPSE_ACC8(96))
GLIMPSE_WGMMA(224, 112, 113, GLIMPSE_ACC64(0), GLIMPSE_ACC32(64), GLIMPSE_ACC16(96))
GLIMPSE_WGMMA(240, 120, 121, GLIMPSE_ACC64(0), GLIMPSE_ACC32(64), GLIMPSE_ACC16(96),
              GLIMPSE_ACC8(112))
GLIMPSE_WGMMA(256, 128, 129, GLIMPSE_ACC64(0), GLIMPSE_ACC64(64))

#undef GLIMPSE_WGMMA
#undef GLIMPSE_NAMES8
#undef GLIMPSE_NAMES16
#undef GLIMPSE_NAMES32
#undef GLIMPSE_NAMES48
#undef GLIMPSE_NAMES64
#undef GLIMPSE_NAMES80
#undef GLIMPSE_NAMES96
#undef GLIMPSE_NAMES112
#undef GLIMPSE_NAMES128
#undef GLIMPSE_NAMES144
#undef GLIMPSE_NAMES160
#undef GLIMPSE_NAMES176
#undef GLIMPSE_NAMES192
#undef GLIMPSE_NAMES208
#undef GLIMPSE_NAMES224
#undef GLIMPSE_NAMES240
#undef GLIMPSE_NAMES256
#undef GLIMPSE_ACC64
#undef GLIMPSE_ACC32
#undef GLIMPSE_ACC16
#undef GLIMPSE_ACC8
#undef GLIMPSE_ACC4

}  // namespace glimpse::kernels

#endif  // GLIMPSE_ENGINE_KERNELS_DEVICE_WGMMA_CUH_
