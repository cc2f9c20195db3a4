// 2^x by the special function unit, one instruction.
#ifndef GLIMPSE_ENGINE_KERNELS_DEVICE_EXP2_CUH_
#define GLIMPSE_ENGINE_KERNELS_DEVICE_EXP2_CUH_

namespace glimpse::kernels {

constexpr float kLog2E = 1.44269504f;

// Within 2^-22 of the value; 0 below 2^-126.
__device__ __forceinline__ float FastExp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

}  // namespace glimpse::kernels

#endif  // GLIMPSE_ENGINE_KERNELS_DEVICE_EXP2_CUH_
