// Full attention of one head over the rows of one picture: out = softmax(q k^T / sqrt(112)) v,
// q, k, v and out [rows, 112]; rows 6401 for the 9B.
//
// device/flash_attention.cuh computes; this file says what. A tile is 192 queries of one head of
// one picture, and takes all its keys. Each block takes every gridDim-th tile as a whole,
// neighbours in one head, so that its keys and values stay in the L2; the tiles that don't come out
// even (544 tiles on 132 blocks: 16) are cut into equal ranges of key tiles. Heads of 112 channels
// are copied as boxes of 64 that the copy engine fills up with zeros, and multiplied as 7 x 16 and
// as 112.
//
// The wall: 4 x 16 heads x 6401^2 x 112 operations a picture, at the 781 TFLOP/s that the library's
// product of 8192 cubed reaches: 0.376 ms. H100 80GB HBM3, 24 November 2026, launches one behind
// the other in a graph:
//   1 picture   0.475 ms   618 TFLOP/s   79 %
//   4 pictures   2.06 ms   569 TFLOP/s   73 %
#include <cmath>

#include "engine/kernels/device/flash_attention.cuh"
#include "engine/kernels/device/tma.cuh"
#include "engine/kernels/kernels.h"
#include "engine/kernels/tensor_map.h"
#include "preprocess/check.h"

namespace glimpse::kernels {
namespace {

struct Vision {
  static constexpr int kHeadSize = kVisionHeadSize;
  static constexpr int kKeys = 96;
  static constexpr int kConsumers = 3;
  static constexpr int kStages = 2;
  static constexpr int kTileRows = kConsumers * kStripRows;
  using Shared = FlashShared<Vision>;

  struct Params {
    CUtensorMap queries;  // [pictures, rows, 3 heads, 112] in boxes of [1, 64, 1, 64]
    CUtensorMap keys;     // the same tensor in boxes of [1, kKeys, 1, 64]
    bf16* out;            // [pictures * rows, heads, 112]
    void* workspace;
    int pictures, rows, heads;
    float scale_log2;
  };
  struct Scratch {};
  __device__ static void Prepare(const Params& params, Scratch&) {
    if (threadIdx.x > 0) return;
    PrefetchMap(&params.queries);
    PrefetchMap(&params.keys);
  }

  struct Part {
    int begin, end, tiles;  // of key tiles
    int next_unit;          // where the tile ends in the shared work
    int picture, head, row;
  };

  class Parts {
   public:
    __device__ Parts(const Params& params, const Scratch&)
        : params_(params), key_tiles_((params.rows + kKeys - 1) / kKeys) {
      const int row_tiles = (params.rows + kTileRows - 1) / kTileRows;
      const int tiles = params.pictures * params.heads * row_tiles;
      const int blocks = gridDim.x;
      whole_end_ = tiles / blocks * blocks;
      whole_ = blockIdx.x;
      const int units = (tiles - whole_end_) * key_tiles_;
      const int ranges = max(1, min(blocks, units));
      share = {units, ranges, ranges - 1 - whole_};
      if (share.range < 0) return;
      unit_ = share.Begin(share.range);
      unit_end_ = share.Begin(share.range + 1);
    }

    __device__ bool Next(Part* part) {
      part->tiles = key_tiles_;
      if (whole_ < whole_end_) {
        Place(whole_, part);
        part->begin = 0;
        part->end = part->tiles;
        whole_ += gridDim.x;
        return true;
      }
      if (unit_ >= unit_end_) return false;
      const int tile = unit_ / key_tiles_;
      Place(whole_end_ + tile, part);
      part->begin = unit_ - tile * key_tiles_;
      part->end = min(key_tiles_, unit_end_ - tile * key_tiles_);
      part->next_unit = (tile + 1) * key_tiles_;
      unit_ = min(part->next_unit, unit_end_);
      return true;
    }

    WorkShare share;

   private:
    // Full tiles come first, head by head; then the heads' ends.
    __device__ void Place(int tile, Part* part) const {
      const int full = params_.rows / kTileRows;
      const int main = full * params_.heads * params_.pictures;
      const int head = tile < main ? tile / full : tile - main;
      part->row = (tile < main ? tile % full : full) * kTileRows;
      part->picture = head / params_.heads;
      part->head = head % params_.heads;
    }

    const Params& params_;
    int key_tiles_;
    int whole_, whole_end_;
    int unit_ = 0, unit_end_ = 0;
  };

  struct Loader {
    const Params& params;
    Shared& shared;
    int lane;
    Part part = {};

    __device__ void Enter(const Part& next) { part = next; }

    __device__ void Queries() const {
      if (lane >= 2 * kConsumers) return;
      const int strip = lane / 2, half = lane % 2;
      CopyBox(shared.queries[strip][half], &params.queries, &shared.queries_full, kEvictFirst,
              half * kSwizzleColumns, part.head, part.row + strip * kStripRows, part.picture);
    }
    __device__ void Keys(int tile, int stage) const {
      Load(shared.keys[stage], &shared.keys_full[stage], params.heads + part.head, tile);
    }
    __device__ void Values(int tile, int stage) const {
      Load(shared.values[stage], &shared.values_full[stage], 2 * params.heads + part.head, tile);
    }

    __device__ void Load(bf16 (&to)[2][kKeys * kSwizzleColumns], uint64_t* barrier, int head,
                         int tile) const {
      if (lane >= 2) return;
      CopyBox(to[lane], &params.keys, barrier, kEvictLast, lane * kSwizzleColumns, head,
              tile * kKeys, part.picture);
    }
  };

  __device__ static int VisibleKeys(const Params& params, const Part&, int) { return params.rows; }

  __device__ static bf16* Output(const Params& params, const Part& part, int row) {
    row += part.row;
    if (row >= params.rows) return nullptr;
    const int64_t head_of_row =
        (static_cast<int64_t>(part.picture) * params.rows + row) * params.heads + part.head;
    return params.out + head_of_row * kHeadSize;
  }
};

CUtensorMap MapRows(const VisionAttention& args, int box_rows) {
  const uint64_t row_heads = 3 * args.heads, head_bytes = Vision::kHeadSize * sizeof(bf16);
  return MakeTensorMap(
      args.qkv,
      {.sizes = {Vision::kHeadSize, row_heads, static_cast<uint64_t>(args.rows),
                 static_cast<uint64_t>(args.pictures)},
       .strides_bytes = {head_bytes, row_heads * head_bytes, args.rows * row_heads * head_bytes},
       .box = {kSwizzleColumns, 1, static_cast<uint32_t>(box_rows), 1}});
}

}  // namespace

int64_t VisionAttentionWorkspaceBytes() { return FlashPartials<Vision>::kBytes; }

void Launch(const VisionAttention& args, cudaStream_t stream) {
  GLIMPSE_CHECK(args.head_size == Vision::kHeadSize, "vision head size");
  if (args.pictures == 0 || args.rows == 0) return;
  const Vision::Params params{
      .queries = MapRows(args, kStripRows),
      .keys = MapRows(args, Vision::kKeys),
      .out = args.out,
      .workspace = args.workspace,
      .pictures = args.pictures,
      .rows = args.rows,
      .heads = args.heads,
      .scale_log2 = static_cast<float>(M_LOG2E / std::sqrt(Vision::kHeadSize)),
  };
  LaunchFlash<Vision>(params, stream);
}

}  // namespace glimpse::kernels
