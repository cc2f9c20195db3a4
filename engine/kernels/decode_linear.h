// The matrix products of a decode step: y = x W^T for 8 to 64 rows of x, bound by reading W once.
//
// Made for each matrix once; the pointers in it are those of buffers that stay where they are, so
// that a captured graph can hold it. `rows` everywhere is the padded number: 8, 16, 32 or 64.
#ifndef GLIMPSE_ENGINE_KERNELS_DECODE_LINEAR_H_
#define GLIMPSE_ENGINE_KERNELS_DECODE_LINEAR_H_

#include <cuda.h>
#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

namespace glimpse::kernels {

constexpr int kLinearTile = 32;  // channels that share a sum of squares

// RMSNorm's statistics of x, by who wrote x: the norm's weight is in x already, its factor is
// applied to the sums.
struct RowStatistics {
  const float* sum_squares = nullptr;  // [tiles, rows]; null: x needs no factor
  int tiles = 0;                       // of kLinearTile channels
  int channels = 0;
  float eps = 0;
};

enum class LinearKind { kPlain, kGated, kHead };

// A product, ready to launch.
struct LinearOperands {
  CUtensorMap weights;  // of W [out, in]
  CUtensorMap x;        // of x [rows, in]
  LinearKind kind = LinearKind::kPlain;
  int out = 0;  // rows of W: two times out if gated
  int in = 0;
  int tile_rows = 0;  // of W, that a block (or cluster) multiplies at a time
  int rows = 0;
  RowStatistics statistics;
};

struct MatrixShape {
  int out = 0;
  int in = 0;  // a multiple of 64
};

// Whether the current device has room for such a product, with QkvFinish or with ResidualFinish.
bool TakesPlain(MatrixShape shape);
bool TakesResidual(MatrixShape shape);

// A matrix W [out, in] bfloat16 for QkvFinish or ResidualFinish.
LinearOperands MakeLinear(const __nv_bfloat16* w, MatrixShape shape, const __nv_bfloat16* x,
                          int rows);
// The same for LogitsFinish, of any height.
LinearOperands MakeHeadLinear(const __nv_bfloat16* w, MatrixShape shape, const __nv_bfloat16* x,
                              int rows);
// Gate and up matrix, W [2, out, in]; out a multiple of 8.
LinearOperands MakeGatedLinear(const __nv_bfloat16* w, MatrixShape shape, const __nv_bfloat16* x,
                               int rows);

// What becomes of the sums y [rows, out].

// q, k, v = y + bias; q and k turned by rope; k and v to the cache. out = (heads + 2 kv_heads) 128.
struct QkvFinish {
  const __nv_bfloat16* bias = nullptr;  // [out]; null: none
  const float* cos = nullptr;           // [positions, 32]
  const float* sin = nullptr;
  const int32_t* positions = nullptr;   // [rows]
  const int32_t* cache_rows = nullptr;  // [rows]
  __nv_bfloat16* q = nullptr;           // [rows, heads, 128]
  __nv_bfloat16* keys = nullptr;        // [cache rows, kv_heads, 128]
  __nv_bfloat16* values = nullptr;
  int heads = 0;
  int kv_heads = 0;
};

// residual += y; x = residual * the next norm's weight, with its statistics.
struct ResidualFinish {
  float* residual = nullptr;              // [rows, out]
  const __nv_bfloat16* weight = nullptr;  // [out]
  __nv_bfloat16* x = nullptr;             // [rows, out]
  float* sum_squares = nullptr;           // [out / kLinearTile, rows]
  int out = 0;
};

// x = silu(gate) * up.
struct SwigluFinish {
  __nv_bfloat16* x = nullptr;  // [rows, out]
  int out = 0;
};

struct LogitsFinish {
  float* logits = nullptr;  // [rows, out]
  int out = 0;
};

void Launch(const LinearOperands& linear, const QkvFinish& finish, cudaStream_t stream);
void Launch(const LinearOperands& linear, const ResidualFinish& finish, cudaStream_t stream);
void Launch(const LinearOperands& gated_linear, const SwigluFinish& finish, cudaStream_t stream);
void Launch(const LinearOperands& linear, const LogitsFinish& finish, cudaStream_t stream);

}  // namespace glimpse::kernels

#endif  // GLIMPSE_ENGINE_KERNELS_DECODE_LINEAR_H_
