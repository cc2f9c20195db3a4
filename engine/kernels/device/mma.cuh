// Matrix products of a warp with operands in registers (PTX: mma, ldmatrix).
//
// With g = lane / 4 and t = lane % 4, a lane holds of A [16, 16]: rows g and g + 8 at columns 2t,
// 2t + 1 (a[0], a[1]) and 2t + 8, 2t + 9 (a[2], a[3]); of B [16, 8]: column g at rows 2t, 2t + 1
// (b0) and 2t + 8, 2t + 9 (b1); of the sums [16, 8]: row g at columns 2t, 2t + 1 (sum[0], sum[1]),
// and row g + 8 (sum[2], sum[3]).
#ifndef GLIMPSE_ENGINE_KERNELS_DEVICE_MMA_CUH_
#define GLIMPSE_ENGINE_KERNELS_DEVICE_MMA_CUH_

#include <cuda_runtime.h>

#include <cstdint>

namespace glimpse::kernels {

// sum += A B.
__device__ __forceinline__ void MultiplyAdd(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0,
                                            uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Four 8 x 8 matrices of bf16 from shared memory: lanes 8i .. 8i + 7 give the addresses of the rows
// (16 bytes each) of matrix i; the lane receives row g at columns 2t, 2t + 1 of each.
__device__ __forceinline__ void LoadMatrices(uint32_t (&to)[4], uint32_t row_address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(row_address)
               : "memory");
}

// The same, transposed: the lane receives column g at rows 2t, 2t + 1 of each.
__device__ __forceinline__ void LoadTransposed(uint32_t (&to)[4], uint32_t row_address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(row_address)
               : "memory");
}

// The same way back, transposed: the lane gives column g at rows 2t, 2t + 1 of each.
__device__ __forceinline__ void StoreTransposed(uint32_t row_address, const uint32_t (&from)[4]) {
  asm volatile(
      "stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(row_address),
      "r"(from[0]), "r"(from[1]), "r"(from[2]), "r"(from[3])
      : "memory");
}
// Two matrices, of which lanes 0 .. 15 give the addresses.
__device__ __forceinline__ void StoreTransposed(uint32_t row_address, const uint32_t (&from)[2]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x2.trans.shared.b16 [%0], {%1, %2};" ::"r"(row_address),
               "r"(from[0]), "r"(from[1])
               : "memory");
}

}  // namespace glimpse::kernels

#endif  // GLIMPSE_ENGINE_KERNELS_DEVICE_MMA_CUH_
