// The consumers' half of flash attention (flash_attention.cuh): a warpgroup that multiplies.
#ifndef GLIMPSE_ENGINE_KERNELS_DEVICE_FLASH_CONSUMER_CUH_
#define GLIMPSE_ENGINE_KERNELS_DEVICE_FLASH_CONSUMER_CUH_

#include "engine/kernels/device/flash_partials.cuh"
#include "engine/kernels/device/flash_producer.cuh"
#include "engine/kernels/device/flash_softmax.cuh"
#include "engine/kernels/device/pack.cuh"
#include "engine/kernels/device/reduce.cuh"
#include "engine/kernels/device/wgmma_attention.cuh"

namespace glimpse::kernels {

template <class Problem>
using FlashPartials = Partials<Problem::kHeadSize, Problem::kConsumers>;

// What a warpgroup keeps beside scores, sums and weights while it walks over the parts.
template <class Problem>
struct Consumer {
  static constexpr int kKeys = Problem::kKeys;
  static constexpr int kHeadSize = Problem::kHeadSize;
  using Shared = FlashShared<Problem>;
  using Part = typename Problem::Part;

  const typename Problem::Params& params;
  Shared& shared;
  int strip;  // the warpgroup's
  RingPlace<Problem::kStages> keys, values;

  __device__ static int Lane() { return threadIdx.x % kWarp; }

  // Of the lane's first row in the tile of queries; the second is 8 below.
  __device__ int Row() const {
    return strip * kStripRows + threadIdx.x % kWarpgroup / kWarp * 16 + Lane() / 4;
  }

  // Each warp says for itself that it has read.
  __device__ static void Release(uint64_t* barrier) {
    if (Lane() == 0) Arrive(barrier);
  }

  // The turn to multiply goes round the warpgroups.
  __device__ void AwaitTurn() { asm volatile("bar.sync %0, 256;" ::"r"(1 + strip) : "memory"); }
  __device__ void PassTurn() {
    const int next = strip + 1 == Problem::kConsumers ? 0 : strip + 1;
    asm volatile("bar.arrive %0, 256;" ::"r"(1 + next) : "memory");
  }

  __device__ void MultiplyScores(float (&s)[kKeys / 2]) {
    const uint32_t q = ScoresOperand(SharedAddress(shared.queries[strip]));
    const uint32_t k = ScoresOperand(SharedAddress(shared.keys[keys.stage]));
    HoldRegisters(s);
    WgmmaFence();
#pragma unroll
    for (int i = 0; i < kHeadSize / 16; ++i) {
      const int half = i / 4, column = 2 * (i % 4);
      AddScores<kKeys>(s, q + half * sizeof(shared.queries[0][0]) / 16 + column,
                       k + half * sizeof(shared.keys[0][0]) / 16 + column, i > 0);
    }
    WgmmaCommit();
  }

  __device__ void MultiplyValues(float (&o)[kHeadSize / 2], const uint32_t* p) {
    constexpr int kHalf = sizeof(shared.values[0][0]);
    const uint32_t v = ValuesOperand(SharedAddress(shared.values[values.stage]), kHalf);
    HoldRegisters(o);
    WgmmaFence();
#pragma unroll
    for (int i = 0; i < kKeys / 16; ++i) AddValues<kHeadSize>(o, p + 4 * i, v + 128 * i);
    WgmmaCommit();
  }

  __device__ void Mask(float (&s)[kKeys / 2], int first_key, const int (&visible)[2]) {
    const int first = first_key + 2 * (Lane() % 4);
#pragma unroll
    for (int i = 0; i < kKeys / 2; ++i) {
      if (first + i / 4 * 8 + i % 2 >= visible[i / 2 % 2]) s[i] = -INFINITY;
    }
  }

  __device__ static void Pack(const float (&s)[kKeys / 2], uint32_t (&p)[kKeys / 4]) {
#pragma unroll
    for (int i = 0; i < kKeys / 4; ++i) p[i] = PackBf16(s[2 * i], s[2 * i + 1]);
  }

  // o = the weighted values of the part's keys, not yet divided by the weights' sum. A step
  // multiplies the scores of a tile and the values of the tile before.
  __device__ void Attend(const Part& part, float (&o)[kHeadSize / 2], RowStats& stats) {
    float s[kKeys / 2];
    uint32_t p[kKeys / 4];
    const int visible[2] = {Problem::VisibleKeys(params, part, Row()),
                            Problem::VisibleKeys(params, part, Row() + 8)};
    const int visible_to_all = Problem::VisibleKeys(params, part, 0);
    const auto softmax = [&](int tile) {
      if ((tile + 1) * kKeys > visible_to_all) Mask(s, tile * kKeys, visible);
      return OnlineSoftmax<kKeys>(s, stats, params.scale_log2);
    };
    Wait(&shared.keys_full[keys.stage], keys.parity);
    MultiplyScores(s);
    WgmmaWait<0>();
    HoldRegisters(s);
    Release(&shared.keys_empty[keys.stage]);
    keys.Advance();
    softmax(part.begin);
    Pack(s, p);
    for (int tile = part.begin + 1; tile < part.end; ++tile) {
      Wait(&shared.keys_full[keys.stage], keys.parity);
      AwaitTurn();
      MultiplyScores(s);
      Wait(&shared.values_full[values.stage], values.parity);
      MultiplyValues(o, p);
      PassTurn();
      WgmmaWait<1>();
      HoldRegisters(s);
      Release(&shared.keys_empty[keys.stage]);
      keys.Advance();
      const float2 correction = softmax(tile);
      WgmmaWait<0>();
      HoldRegisters(o);
      Release(&shared.values_empty[values.stage]);
      values.Advance();
#pragma unroll
      for (int i = 0; i < kHeadSize / 2; ++i) o[i] *= i / 2 % 2 ? correction.y : correction.x;
      Pack(s, p);
    }
    Release(&shared.queries_empty);
    Wait(&shared.values_full[values.stage], values.parity);
    MultiplyValues(o, p);
    WgmmaWait<0>();
    HoldRegisters(o);
    Release(&shared.values_empty[values.stage]);
    values.Advance();
  }

  // out = o / sum, the sum gathered from the four lanes that share a row.
  __device__ void Store(const Part& part, const float (&o)[kHeadSize / 2], const RowStats& stats) {
    constexpr int kGroups = kHeadSize / 8;  // of eight channels: 16 bytes, four lanes' words
    uint32_t words[2 * kGroups];
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      const float inverse = 1 / QuadSum(stats.sum[row]);
#pragma unroll
      for (int i = 0; i < kGroups; ++i) {
        words[row * kGroups + i] =
            PackBf16(o[4 * i + 2 * row] * inverse, o[4 * i + 2 * row + 1] * inverse);
      }
    }
    __nv_bfloat16* const out[2] = {Problem::Output(params, part, Row()),
                                   Problem::Output(params, part, Row() + 8)};
#pragma unroll
    for (int i = 0; i < 2 * kGroups; i += 4) {
      const uint4 pack = TransposeQuad(words + i);
      const int group = i + Lane() % 4;
      __nv_bfloat16* const row = group < kGroups ? out[0] : out[1];
      if (row != nullptr) *reinterpret_cast<uint4*>(row + group % kGroups * 8) = pack;
    }
  }

  // Leaves the results of a tile, or of a part that another block finishes.
  __device__ void Finish(const Part& part, const WorkShare& share, float (&o)[kHeadSize / 2],
                         RowStats& stats) {
    const FlashPartials<Problem> partials{params.workspace, strip};
    if (part.begin > 0) {
      partials.Publish(share.range, o, stats);
      return;
    }
    if (part.end < part.tiles) partials.Gather(share, part.next_unit, params.scale_log2, o, stats);
    Store(part, o, stats);
  }

  __device__ void Run() {
    typename Problem::Parts parts(params, shared.scratch);
    Part part;
    uint32_t parity = 0;
    if (strip == Problem::kConsumers - 1) PassTurn();  // the first turn is the first strip's
    while (parts.Next(&part)) {
      float o[kHeadSize / 2] = {};
      RowStats stats;
      Wait(&shared.queries_full, parity);
      parity ^= 1;
      Attend(part, o, stats);
      Finish(part, parts.share, o, stats);
    }
  }
};

}  // namespace glimpse::kernels

#endif  // GLIMPSE_ENGINE_KERNELS_DEVICE_FLASH_CONSUMER_CUH_
