// How the blocks of prefill attention (prefill_attention.cu) share its work.
//
// A tile of queries is 128 / group tokens of a span with all query heads of a KV head; its work is
// the key tiles up to the diagonal. Spans, in a span KV heads, in a head tiles follow each other,
// and each block takes an equal range of all key tiles (flash_partials.cuh). Every block finds its
// range for itself, so lengths stay on the device.
#ifndef GLIMPSE_ENGINE_KERNELS_DEVICE_PREFILL_PARTS_CUH_
#define GLIMPSE_ENGINE_KERNELS_DEVICE_PREFILL_PARTS_CUH_

#include <cuda_runtime.h>

#include <cstdint>

#include "engine/kernels/device/flash_partials.cuh"
#include "engine/kernels/device/reduce.cuh"

namespace glimpse::kernels {

constexpr int kPrefillRows = 128;  // queries of a tile, and keys of a key tile
constexpr int kMaxSpans = 256;

struct PrefillSpans {
  const int32_t* first_tokens;
  const int32_t* kv_lengths;
  int count;
  int kv_heads;
  int group_shift;  // log2 of the query heads of a KV head

  __device__ int TileTokens() const { return kPrefillRows >> group_shift; }
  __device__ int Tiles(int tokens) const {  // that this many tokens fill, rounded up
    return ((tokens << group_shift) + kPrefillRows - 1) / kPrefillRows;
  }
};

// The key tiles of a span's tiles. Tile t's last token looks at no more than `before` + t + 1
// tiles of tokens, of which 2^shift make a key tile.
struct SpanWork {
  int before;  // tiles of tokens that the cached tokens fill
  int shift;
  __device__ int KeyTiles(int tile) const { return (before + tile + (1 << shift)) >> shift; }
  // Of all tiles before `tile`.
  __device__ int Before(int tile) const { return SumTo(before + tile) - SumTo(before); }
  // ceil(j / 2^shift), summed over j = 1 .. n
  __device__ int SumTo(int n) const {
    const int whole = n >> shift;
    return (whole * (whole + 1) / 2 << shift) + (n - (whole << shift)) * (whole + 1);
  }
};

// What the blocks work out of the spans, each for itself.
struct PrefillSpan {
  int first_unit;  // where the span begins in all the work
  int token, token_end;
  int cached;  // tokens of the sequence before the span
};
struct PrefillScratch {
  PrefillSpan spans[kMaxSpans + 1];
  int tiles;  // of queries, in all
};

struct PrefillPart {
  int begin, end, tiles;  // of key tiles
  int next_unit;          // where the tile ends in all the work
  int span, kv_head;
  int token, token_end;  // the tile's first; the span's end
  int visible;           // keys that the first token looks at
  int kv_length;         // of the span
};

__device__ __forceinline__ SpanWork WorkOf(const PrefillSpans& spans, int cached) {
  return {spans.Tiles(cached), spans.group_shift};
}

// Looks the spans up and sums up their work, by one warp.
__device__ __forceinline__ void PreparePrefill(const PrefillSpans& spans, PrefillScratch& scratch) {
  const int lane = threadIdx.x % kWarp;
  int total = 0, tiles = 0;
  for (int first = 0; first <= spans.count; first += kWarp) {
    const int i = first + lane;
    PrefillSpan span = {};
    int units = 0;
    if (i < spans.count) {
      span.token = spans.first_tokens[i];
      span.token_end = spans.first_tokens[i + 1];
      const int tokens = span.token_end - span.token;
      span.cached = spans.kv_lengths[i] - tokens;
      if (tokens > 0) {
        units = spans.kv_heads * WorkOf(spans, span.cached).Before(spans.Tiles(tokens));
        tiles += spans.kv_heads * spans.Tiles(tokens);
      }
    }
    int sum = units;
#pragma unroll
    for (int step = 1; step < kWarp; step *= 2) {
      const int add = __shfl_up_sync(kAllLanes, sum, step);
      if (lane >= step) sum += add;
    }
    span.first_unit = total + sum - units;
    if (i <= spans.count) scratch.spans[i] = span;
    total += __shfl_sync(kAllLanes, sum, kWarp - 1);
  }
  tiles = __reduce_add_sync(kAllLanes, tiles);
  if (lane == 0) scratch.tiles = tiles;
}

class PrefillParts {
 public:
  __device__ PrefillParts(const PrefillSpans& all, const PrefillScratch& scratch)
      : all_(all), spans_(scratch.spans) {
    const int units = spans_[all.count].first_unit;
    // To cut a tile costs about as much as kCutUnits of it.
    const int wanted = max(scratch.tiles, units / kCutUnits);
    const int ranges = max(1, min(static_cast<int>(gridDim.x), wanted));
    share = {units, ranges, ranges - 1 - static_cast<int>(blockIdx.x)};
    if (share.range < 0) return;
    unit_ = share.Begin(share.range);
    unit_end_ = share.Begin(share.range + 1);
    if (unit_ == unit_end_) return;
    span_ = LastNotAbove(all.count, unit_, [&](int i) { return spans_[i].first_unit; });
    EnterSpan();
    const int head_units = work_.Before(tiles_);
    kv_head_ = (unit_ - spans_[span_].first_unit) / head_units;
    skip_ = (unit_ - spans_[span_].first_unit) % head_units;
    tile_ = LastNotAbove(tiles_, skip_, [&](int tile) { return work_.Before(tile); });
    skip_ -= work_.Before(tile_);
  }

  __device__ bool Next(PrefillPart* part) {
    if (unit_ >= unit_end_) return false;
    if (tile_ == tiles_) EnterNextHead();
    const PrefillSpan span = spans_[span_];
    const int first = tile_ * all_.TileTokens();
    part->span = span_;
    part->kv_head = kv_head_;
    part->token = span.token + first;
    part->token_end = span.token_end;
    part->visible = span.cached + first + 1;
    part->kv_length = span.cached + span.token_end - span.token;
    part->tiles = work_.KeyTiles(tile_);
    part->begin = skip_;
    part->end = min(part->tiles, skip_ + unit_end_ - unit_);
    part->next_unit = unit_ - skip_ + part->tiles;
    unit_ += part->end - part->begin;
    skip_ = 0;
    ++tile_;
    return true;
  }

  WorkShare share;

 private:
  static constexpr int kCutUnits = 3;

  // The last i in 0 .. count - 1 with value(i) <= wanted, of values that don't fall.
  template <class Value>
  __device__ static int LastNotAbove(int count, int wanted, const Value& value) {
    int low = 0;
    while (count - low > 1) {
      const int middle = (low + count) / 2;
      if (value(middle) <= wanted) {
        low = middle;
      } else {
        count = middle;
      }
    }
    return low;
  }

  __device__ void EnterSpan() {
    const PrefillSpan span = spans_[span_];
    work_ = WorkOf(all_, span.cached);
    tiles_ = all_.Tiles(span.token_end - span.token);
  }

  __device__ void EnterNextHead() {
    tile_ = 0;
    if (++kv_head_ < all_.kv_heads) return;
    kv_head_ = 0;
    do {
      ++span_;
    } while (spans_[span_].token_end <= spans_[span_].token);
    EnterSpan();
  }

  const PrefillSpans& all_;
  const PrefillSpan* spans_;
  SpanWork work_;  // of the span
  int unit_ = 0, unit_end_ = 0;
  int span_, kv_head_, tile_, tiles_;
  int skip_;  // key tiles of the first tile that are another block's
};

}  // namespace glimpse::kernels

#endif  // GLIMPSE_ENGINE_KERNELS_DEVICE_PREFILL_PARTS_CUH_
