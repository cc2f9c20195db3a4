// Causal attention of packed spans of tokens over a paged cache, a query head at a time:
//   out = softmax(q k^T / sqrt(128)) v,  q and out [tokens, 128], k and v [kv_length, 128]
//
// device/flash_attention.cuh computes; this file says what. A tile of 128 queries is 128 / group
// tokens of one span with all the query heads of one KV head, so that even a short span fills tiles
// and the heads share each copy of keys and values; its key tiles end at the diagonal. Keys and
// values are copied a KV block at a time. All lengths are read on the device, the grid depends on
// none, so a captured launch serves every batch that has room in it: each block sums up the spans'
// key tiles and takes an equal range of the total (device/flash_partials.cuh).
//
// The wall: 4 x 32 heads x 128 operations for each key that a token looks at, at the 781 TFLOP/s
// that the library's product of 8192 cubed reaches; with short spans, the bytes of q, keys, values
// and out at 3001 GB/s. H100 80GB HBM3, 24 November 2026, launches one behind the other in a graph,
// spans from their beginning:
//   spans x tokens   1 x 512   4 x 512   1 x 1800
//   us                  16.7      37.0       77.5
//   TFLOP/s              129       232        343
//   of the wall         18 %      32 %       44 %
// What is lost is the beginning and end of each tile of queries, where nothing overlaps, and the
// masked half of its last keys.
#include <cmath>

#include "engine/kernels/device/flash_attention.cuh"
#include "engine/kernels/device/prefill_parts.cuh"
#include "engine/kernels/device/reduce.cuh"
#include "engine/kernels/device/tma.cuh"
#include "engine/kernels/kernels.h"
#include "engine/kernels/tensor_map.h"
#include "preprocess/check.h"

namespace glimpse::kernels {
namespace {

struct Prefill {
  static constexpr int kHeadSize = kernels::kHeadSize;
  static constexpr int kKeys = kPrefillRows;
  static constexpr int kConsumers = 2;
  static constexpr int kStages = 2;
  static constexpr int kTileBlocks = kKeys / kKvBlockRows;
  using Shared = FlashShared<Prefill>;

  struct Params {
    CUtensorMap queries;     // [tokens, heads, 128] in boxes of [64 / group, group, 64]
    CUtensorMap keys;        // [cache rows, kv_heads * 128] in boxes of [16, 64]
    CUtensorMap values;      // the same
    CUtensorMap value_rows;  // the same in boxes of [1, 64]
    PrefillSpans spans;
    const int32_t* block_table;
    bf16* out;
    void* workspace;
    int cache_rows, max_blocks;
    float scale_log2;
  };

  using Part = PrefillPart;
  using Scratch = PrefillScratch;

  struct Parts : PrefillParts {
    __device__ Parts(const Params& params, const Scratch& scratch)
        : PrefillParts(params.spans, scratch) {}
  };

  __device__ static void Prepare(const Params& params, Scratch& scratch) {
    if (threadIdx.x >= kWarp) return;
    if (threadIdx.x == 0) {
      PrefetchMap(&params.queries);
      PrefetchMap(&params.keys);
      PrefetchMap(&params.values);
    }
    PreparePrefill(params.spans, scratch);
  }

  struct Loader {
    const Params& params;
    Shared& shared;
    int lane;
    Part part = {};
    // Of lane i < 8: where in the cache KV block i of the next tile of keys begins, read ahead.
    int next_row = 0;

    __device__ void Enter(const Part& next) {
      part = next;
      next_row = BlockRow(part.begin);
    }

    __device__ void Queries() const {
      if (lane >= 2 * kConsumers) return;
      const int strip = lane / 2, half = lane % 2;
      CopyBox(shared.queries[strip][half], &params.queries, &shared.queries_full, kEvictFirst,
              half * kSwizzleColumns, part.kv_head << params.spans.group_shift,
              part.token + (strip * kStripRows >> params.spans.group_shift));
    }

    __device__ void Keys(int tile, int stage) {
      const int rows = next_row;
      next_row = BlockRow(tile + 1);
#pragma unroll
      for (int block = 0; block < kTileBlocks; ++block) {
        const int row = __shfl_sync(kAllLanes, rows, block);
        if (lane == 0) {
          CopyBlock(&params.keys, shared.keys[stage], block * kKvBlockRows,
                    &shared.keys_full[stage], row);
        }
      }
    }

    // What a block holds behind the end is anything, NaN too, and weight 0 does not make that
    // harmless; so the last block is copied row by row, with zeros behind the end.
    __device__ void Values(int tile, int stage) const {
      const int rows = BlockRow(tile);
      const int last_rows = part.kv_length % kKvBlockRows;
      const int torn = last_rows == 0 ? -1 : part.kv_length / kKvBlockRows - tile * kTileBlocks;
#pragma unroll
      for (int block = 0; block < kTileBlocks; ++block) {
        const int row = __shfl_sync(kAllLanes, rows, block);
        if (lane == 0 && block != torn) {
          CopyBlock(&params.values, shared.values[stage], block * kKvBlockRows,
                    &shared.values_full[stage], row);
        }
      }
      if (torn < 0 || torn >= kTileBlocks) return;
      const int row = __shfl_sync(kAllLanes, rows, torn);
      if (lane >= kKvBlockRows) return;
      CopyBlock(&params.value_rows, shared.values[stage], torn * kKvBlockRows + lane,
                &shared.values_full[stage], lane < last_rows ? row + lane : params.cache_rows);
    }

    // Behind the end: no row, so zeros.
    __device__ int BlockRow(int tile) const {
      const int block = tile * kTileBlocks + lane;
      if (lane >= kTileBlocks || block * kKvBlockRows >= part.kv_length) return params.cache_rows;
      return params.block_table[part.span * params.max_blocks + block] * kKvBlockRows;
    }

    // A box of the cache from `row` on, both halves, to row `to_row` of the tile.
    __device__ void CopyBlock(const CUtensorMap* map, bf16 (&tile)[2][kKeys * kSwizzleColumns],
                              int to_row, uint64_t* barrier, int row) const {
      const int column = part.kv_head * kHeadSize;
      bf16* const to = tile[0] + to_row * kSwizzleColumns;
      CopyBox(to, map, barrier, kEvictLast, column, row);
      CopyBox(to + kKeys * kSwizzleColumns, map, barrier, kEvictLast, column + kSwizzleColumns,
              row);
    }
  };

  __device__ static int VisibleKeys(const Params& params, const Part& part, int row) {
    return part.visible + (row >> params.spans.group_shift);
  }

  __device__ static bf16* Output(const Params& params, const Part& part, int row) {
    const int token = part.token + (row >> params.spans.group_shift);
    if (token >= part.token_end) return nullptr;
    const int kv_head_of_token = token * params.spans.kv_heads + part.kv_head;
    const int head = row & ((1 << params.spans.group_shift) - 1);
    return params.out +
           ((static_cast<int64_t>(kv_head_of_token) << params.spans.group_shift) + head) *
               kHeadSize;
  }
};

CUtensorMap MapQueries(const PrefillAttention& args, int group) {
  return MakeTensorMap(args.q,
                       {.sizes = {kHeadSize, static_cast<uint64_t>(args.heads),
                                  static_cast<uint64_t>(args.num_tokens)},
                        .strides_bytes = {kHeadSize * sizeof(bf16), args.q_stride * sizeof(bf16)},
                        .box = {kSwizzleColumns, static_cast<uint32_t>(group),
                                static_cast<uint32_t>(kStripRows / group)}});
}

CUtensorMap MapCache(const PrefillAttention& args, const bf16* data, uint32_t rows) {
  const uint64_t columns = args.kv_heads * kHeadSize;
  return MakeTensorMap(data, {.sizes = {columns, static_cast<uint64_t>(args.cache_rows)},
                              .strides_bytes = {columns * sizeof(bf16)},
                              .box = {kSwizzleColumns, rows}});
}

}  // namespace

int64_t PrefillAttentionWorkspaceBytes() { return FlashPartials<Prefill>::kBytes; }

void Launch(const PrefillAttention& args, cudaStream_t stream) {
  if (args.num_tokens == 0 || args.num_spans == 0) return;
  const int group = args.heads / args.kv_heads;
  GLIMPSE_CHECK(group * args.kv_heads == args.heads && group > 0 && group <= kMaxGroup &&
                    (group & (group - 1)) == 0,
                "query heads of a KV head");
  GLIMPSE_CHECK(args.num_spans <= kMaxSpans, "spans of a prefill");
  GLIMPSE_CHECK(args.cache_rows < INT32_MAX, "rows of the cache");
  const Prefill::Params params{
      .queries = MapQueries(args, group),
      .keys = MapCache(args, args.keys, kKvBlockRows),
      .values = MapCache(args, args.values, kKvBlockRows),
      .value_rows = MapCache(args, args.values, 1),
      .spans = {.first_tokens = args.first_tokens,
                .kv_lengths = args.kv_lengths,
                .count = args.num_spans,
                .kv_heads = args.kv_heads,
                .group_shift = __builtin_ctz(group)},
      .block_table = args.block_table,
      .out = args.out,
      .workspace = args.workspace,
      .cache_rows = static_cast<int>(args.cache_rows),
      .max_blocks = args.max_blocks,
      .scale_log2 = static_cast<float>(M_LOG2E / std::sqrt(kHeadSize)),
  };
  LaunchFlash<Prefill>(params, stream);
}

}  // namespace glimpse::kernels
