// The matrix products of a decode step: y = x W^T for 8 to 64 rows of x, bound by reading W once,
// and what becomes of y. kernels.h says what holds for all launchers: W is read ahead, all else
// after the kernels before.
//
// LinearOperands is made once for each matrix and number of rows, of buffers that stay where they
// are, so that a captured graph can hold it; a value that any number of launches may share. `rows`
// everywhere is the padded number: 8, 16, 32 or 64; whatever a padding row holds, even NaN, stays
// in its row. Sizes that no product takes are a CHECK; MakeLinear and its like throw CudaError.
#ifndef GLIMPSE_ENGINE_KERNELS_DECODE_LINEAR_H_
#define GLIMPSE_ENGINE_KERNELS_DECODE_LINEAR_H_

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#include "engine/kernels/kernels.h"

namespace glimpse::kernels {

constexpr int kLinearTile = 32;  // channels that share a sum of squares

// RMSNorm's statistics of x, by who wrote x (StartRows, ResidualFinish): the norm's weight is in x
// already, its factor 1 / sqrt(mean square + eps) is applied to the sums y.
struct RowStatistics {
  const float* sum_squares = nullptr;  // [tiles, rows]; null: x needs no factor
  int tiles = 0;                       // of kLinearTile channels
  int channels = 0;
  float eps = 0;
};

// How the work is divided: plain for a matrix so small that two blocks share a tile, gated for gate
// and up together, head for a matrix of any height.
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
  RowStatistics statistics;  // set by the caller where x wants a factor
};

struct MatrixShape {
  int out = 0;
  int in = 0;  // a multiple of 64
};

// Whether the current device has room for such a product, with QkvFinish or with ResidualFinish.
bool TakesPlain(MatrixShape shape);
bool TakesResidual(MatrixShape shape);

// A matrix W [out, in] bfloat16 for QkvFinish or ResidualFinish.
LinearOperands MakeLinear(const bf16* w, MatrixShape shape, const bf16* x, int rows);
// The same for LogitsFinish, of any height.
LinearOperands MakeHeadLinear(const bf16* w, MatrixShape shape, const bf16* x, int rows);
// Gate and up matrix, W [2, out, in]; out a multiple of 8.
LinearOperands MakeGatedLinear(const bf16* w, MatrixShape shape, const bf16* x, int rows);

// What becomes of the sums y [rows, out]: QkvFinish and ResidualFinish of MakeLinear's products,
// SwigluFinish of MakeGatedLinear's, LogitsFinish of MakeHeadLinear's.

// q, k, v = y + bias; q and k turned by rope (as RopeAndCache does); k and v to the cache.
// out = (heads + 2 kv_heads) 128.
struct QkvFinish {
  const bf16* bias = nullptr;  // [out]; null: none
  const float* cos = nullptr;  // [positions, 32]
  const float* sin = nullptr;
  const int32_t* positions = nullptr;   // [rows]
  const int32_t* cache_rows = nullptr;  // [rows]
  bf16* q = nullptr;                    // [rows, heads, 128]
  bf16* keys = nullptr;                 // [cache rows, kv_heads, 128]
  bf16* values = nullptr;
  int heads = 0;
  int kv_heads = 0;
};

// residual += y; x = residual * the next norm's weight, with its statistics.
struct ResidualFinish {
  float* residual = nullptr;     // [rows, out]
  const bf16* weight = nullptr;  // [out]
  bf16* x = nullptr;             // [rows, out]
  float* sum_squares = nullptr;  // [out / kLinearTile, rows]
  int out = 0;
};

// x = silu(gate) * up.
struct SwigluFinish {
  bf16* x = nullptr;  // [rows, out]
  int out = 0;
};

// logits = y.
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
