// Finds a place in a row's order of tokens, likeliest first, without sorting: the k-th token, or
// the one at which the mass of the tokens up to it reaches a goal.
//
// A cluster of blocks has the row, each a chunk of it in shared memory as distances below the best
// score. All ids go into the bins of TokenScale once (token_mass.cuh); sums over the bins give any
// goal's bin. If more ids than a few are in that one, it is parted again, by the order itself:
// (distance, id) as one integer. What is left, all blocks exchange and each ranks for itself, so
// all threads of the cluster know the answer, which is the same bits whatever the timing.
#ifndef GLIMPSE_ENGINE_KERNELS_DEVICE_TOKEN_SEARCH_CUH_
#define GLIMPSE_ENGINE_KERNELS_DEVICE_TOKEN_SEARCH_CUH_

#include <cooperative_groups.h>

#include <cstdint>

#include "engine/kernels/device/reduce.cuh"
#include "engine/kernels/device/token_chunk.cuh"
#include "engine/kernels/device/token_mass.cuh"
#include "engine/kernels/device/token_order.cuh"

namespace glimpse::kernels {

constexpr int kSearches = 3;  // of a row, at most
constexpr int kFew = 128;     // ids that are ranked directly

struct TokenPlace {
  int id = 0;         // of a goal of mass alone
  uint64_t mass = 0;  // of the tokens up to it and, for a goal of rank, of those equal to it
};

// A block's, in shared memory.
struct TokenSearchMemory {
  // Of the block's own ids; TokenWeight's parts.
  alignas(16) uint32_t ids[kBins];
  alignas(16) uint32_t parts[kBins];
  // Of the row's.
  alignas(16) uint32_t row_ids[kBins];
  alignas(16) uint64_t row_parts[kBins];
  Tally of_warps[kTokenThreads / kWarp];
  uint64_t few[kSearches][kFew];
  uint32_t few_units[kFew];
  uint32_t num_few[kSearches];  // the first block's counts
  Stretch stretch;
  TokenPlace place;
};

// Every thread of every block of the cluster constructs it and calls all its functions together.
// A block may end when the last search has returned: nobody reads its memory any more.
class TokenSearch {
 public:
  // `chunk` has scores, -infinity behind its end. `memory` has been cleared by Clear, and the
  // cluster has synchronised since.
  __device__ TokenSearch(TokenSearchMemory& memory, const TokenChunk& chunk, float best,
                         float temperature)
      : memory_(memory), chunk_(chunk), scale_(temperature) {
    // Most are in the tail as a rule, too many for one address. What is behind the end is there
    // too.
    uint32_t tail_ids = 0, tail_parts = 0;
    if (threadIdx.x == 0) tail_ids = chunk.count - TokenChunk::Room(chunk.count);
    for (int base = 0; base < chunk.count; base += TokenChunk::kBatchIds) {
      float x[TokenChunk::kBatch];
      TokenWeight weights[TokenChunk::kBatch];
      chunk.Load(base, x);
#pragma unroll
      for (int j = 0; j < TokenChunk::kBatch; ++j) {
        x[j] = best - x[j];
        weights[j] = scale_.Weigh(x[j]);
      }
      chunk.Store(base, x);
#pragma unroll
      for (const TokenWeight& weight : weights) {
        if (weight.bin == kTail) {
          tail_ids += 1;
          tail_parts += weight.part;
        } else {
          AddToBin(weight.bin, 1, weight.part);
        }
      }
    }
    tail_ids = __reduce_add_sync(kAllLanes, tail_ids);
    tail_parts = __reduce_add_sync(kAllLanes, tail_parts);
    if (threadIdx.x % kWarp == 0) AddToBin(kTail, tail_ids, tail_parts);
    SumOverCluster(whole_);
#pragma unroll
    for (int j = 0; j < kThreadBins; ++j) {
      units_[j] = whole_.own[j].mass = UnitsOf(ThreadBin(j), whole_.own[j].ids, whole_.own[j].mass);
      whole_.own[j].mass = MassOf(ThreadBin(j), units_[j]);
    }
    Scan(whole_);
  }

  __device__ static void Clear(TokenSearchMemory& memory) {
    ClearBins(memory);
    if (threadIdx.x < kSearches) memory.num_few[threadIdx.x] = 0;
  }

  __device__ uint64_t TotalMass() {
    if (threadIdx.x == kTokenThreads - 1) memory_.place.mass = whole_.upto[kThreadBins - 1].mass;
    __syncthreads();
    const uint64_t mass = memory_.place.mass;
    __syncthreads();  // a search writes the place again
    return mass;
  }

  // `goal` is reached within the row. At most kSearches calls.
  __device__ TokenPlace Find(const Goal& goal) {
#pragma unroll
    for (int j = 0; j < kThreadBins; ++j) {
      if (!goal.Reached(whole_.Before(j)) && goal.Reached(whole_.upto[j])) {
        memory_.stretch = WholeBin(j);
      }
    }
    __syncthreads();
    const int narrowest = goal.by_rank ? kIdBits : 0;  // equal tokens stay together
    while (memory_.stretch.ids > kFew && memory_.stretch.width > narrowest) {
      Narrow(goal, narrowest);
    }
    const Stretch stretch = memory_.stretch;
    if (stretch.ids > kFew) {  // all of equal score
      __syncthreads();         // the next search writes the stretch again
      return {0, stretch.Upto({stretch.ids, stretch.units}).mass};
    }
    Exchange(stretch);
    RankFew(stretch, goal);
    ++searches_;
    __syncthreads();
    return memory_.place;
  }

 private:
  static constexpr int kThreadBins = kBins / kTokenThreads;  // side by side
  __device__ static int ThreadBin(int j) { return static_cast<int>(threadIdx.x) * kThreadBins + j; }

  // This thread's bins, and the sums up to and with each.
  struct ThreadTallies {
    Tally own[kThreadBins], upto[kThreadBins];
    __device__ Tally Before(int j) const {
      return {upto[j].ids - own[j].ids, upto[j].mass - own[j].mass};
    }
  };

  __device__ static void ClearBins(TokenSearchMemory& memory) {
#pragma unroll
    for (int j = 0; j < kThreadBins; ++j) memory.ids[ThreadBin(j)] = memory.parts[ThreadBin(j)] = 0;
  }

  __device__ void AddToBin(int bin, uint32_t ids, uint32_t parts) {
    atomicAdd(&memory_.ids[bin], ids);
    atomicAdd(&memory_.parts[bin], parts);
  }

  // This thread's bins over all blocks; for masses the parts' sums. Each block adds up an eighth of
  // the bins, a lane a block, and hands its sums to all.
  __device__ void SumOverCluster(ThreadTallies& tallies) {
    static_assert(kThreadBins == 2, "as pairs");
    cluster_.sync();  // all blocks have filled their bins
    const int rank = threadIdx.x % kTokenCluster;
    const int bin =
        cluster_.block_rank() * (kBins / kTokenCluster) + threadIdx.x / kTokenCluster * 2;
    const uint2 ids = *cluster_.map_shared_rank(reinterpret_cast<uint2*>(&memory_.ids[bin]), rank);
    const uint2 parts =
        *cluster_.map_shared_rank(reinterpret_cast<uint2*>(&memory_.parts[bin]), rank);
    Tally sums[2] = {{ids.x, parts.x}, {ids.y, parts.y}};
#pragma unroll
    for (int lanes = 1; lanes < kTokenCluster; lanes *= 2) {
#pragma unroll
      for (Tally& sum : sums) {
        sum = sum + Tally{__shfl_xor_sync(kAllLanes, sum.ids, lanes),
                          __shfl_xor_sync(kAllLanes, sum.mass, lanes)};
      }
    }
    *cluster_.map_shared_rank(reinterpret_cast<uint2*>(&memory_.row_ids[bin]), rank) =
        make_uint2(sums[0].ids, sums[1].ids);
    *cluster_.map_shared_rank(reinterpret_cast<ulonglong2*>(&memory_.row_parts[bin]), rank) =
        make_ulonglong2(sums[0].mass, sums[1].mass);
    cluster_.sync();  // all sums are there
#pragma unroll
    for (int j = 0; j < kThreadBins; ++j) {
      tallies.own[j] = {memory_.row_ids[ThreadBin(j)], memory_.row_parts[ThreadBin(j)]};
    }
  }

  // A barrier of the cluster lies between two of these.
  __device__ void Scan(ThreadTallies& tallies) {
    const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
    const Tally own = tallies.own[0] + tallies.own[1];
    Tally upto = own;
#pragma unroll
    for (int lanes = 1; lanes < kWarp; lanes *= 2) {
      const Tally other = {__shfl_up_sync(kAllLanes, upto.ids, lanes),
                           __shfl_up_sync(kAllLanes, upto.mass, lanes)};
      if (lane >= lanes) upto = upto + other;
    }
    if (lane == kWarp - 1) memory_.of_warps[warp] = upto;
    __syncthreads();  // the warps' sums are there
#pragma unroll
    for (int i = 0; i < kTokenThreads / kWarp; ++i) {
      if (i < warp) upto = upto + memory_.of_warps[i];
    }
    tallies.upto[1] = upto;
    tallies.upto[0] = {upto.ids - tallies.own[1].ids, upto.mass - tallies.own[1].mass};
  }

  __device__ Stretch WholeBin(int j) const {
    const int bin = ThreadBin(j);
    const Tally before = whole_.Before(j);
    const uint64_t first = OrderOf(scale_.Below(bin), 0);
    const uint64_t last = OrderOf(scale_.Above(bin), (1 << kIdBits) - 1);
    return {bin,
            first,
            64 - __clzll(static_cast<long long>(last - first)),
            whole_.own[j].ids,
            units_[j],
            before.ids,
            before.mass,
            0};
  }

  // Calls visit(distance, order) for the stretch's ids in this thread's part of the chunk.
  template <typename Visit>
  __device__ void ForEach(const Stretch& stretch, Visit visit) const {
    // Few are near, and all that the others cost is a comparison of their bits.
    const uint32_t low = static_cast<uint32_t>(stretch.first >> kIdBits);
    const uint32_t span =
        static_cast<uint32_t>((stretch.first + (uint64_t{1} << stretch.width) - 1) >> kIdBits) -
        low;
    for (int base = 0; base < chunk_.count; base += TokenChunk::kBatchIds) {
      float x[TokenChunk::kBatch];
      chunk_.Load(base, x);
#pragma unroll
      for (int j = 0; j < TokenChunk::kBatch; ++j) {
        if (__float_as_uint(x[j]) - low > span) continue;
        const int i = TokenChunk::IndexOf(base, j);
        const uint64_t order = OrderOf(x[j], chunk_.first_id + i);
        if (i < chunk_.count && stretch.Holds(scale_.Weigh(x[j]), order)) visit(x[j], order);
      }
    }
  }

  // Parts the stretch in up to kBins and keeps the one with the goal.
  __device__ void Narrow(const Goal& goal, int narrowest) {
    const Stretch old = memory_.stretch;
    const int width = max(old.width - kBinBits, narrowest);
    ClearBins(memory_);
    __syncthreads();
    ForEach(old, [&](float distance, uint64_t order) {
      AddToBin(static_cast<int>((order - old.first) >> width), 1, scale_.Weigh(distance).part);
    });
    ThreadTallies parts;
    SumOverCluster(parts);
#pragma unroll
    for (int j = 0; j < kThreadBins; ++j) {
      parts.own[j].mass = UnitsOf(old.bin, parts.own[j].ids, parts.own[j].mass);
    }
    Scan(parts);
#pragma unroll
    for (int j = 0; j < kThreadBins; ++j) {
      const Tally before = parts.Before(j);
      if (goal.Reached(old.Upto(before)) || !goal.Reached(old.Upto(parts.upto[j]))) continue;
      memory_.stretch = {old.bin,
                         old.first + (static_cast<uint64_t>(ThreadBin(j)) << width),
                         width,
                         parts.own[j].ids,
                         parts.own[j].mass,
                         old.ids_before + before.ids,
                         old.mass_before,
                         old.units_before + before.mass};
    }
    __syncthreads();
  }

  // Puts the orders of the stretch's ids, however they come, into `few` of every block.
  __device__ void Exchange(const Stretch& stretch) {
    ForEach(stretch, [&](float, uint64_t order) {
      const uint32_t at = atomicAdd(cluster_.map_shared_rank(&memory_.num_few[searches_], 0), 1);
      for (int rank = 0; rank < kTokenCluster; ++rank) {
        *cluster_.map_shared_rank(&memory_.few[searches_][at], rank) = order;
      }
    });
    cluster_.sync();  // the lists are complete
  }

  // A thread an id: adds up what comes before it and what is equal to it.
  __device__ void RankFew(const Stretch& stretch, const Goal& goal) {
    const uint64_t* few = memory_.few[searches_];
    const bool mine = threadIdx.x < stretch.ids;
    uint64_t own = 0;
    if (mine) {
      own = few[threadIdx.x];
      const uint32_t part = scale_.Weigh(OrderDistance(own)).part;
      memory_.few_units[threadIdx.x] = static_cast<uint32_t>(UnitsOf(stretch.bin, 1, part));
    }
    __syncthreads();
    if (!mine) return;
    const int ignored = goal.by_rank ? kIdBits : 0;  // then equal scores are one place
    Tally before, upto;
#pragma unroll 4
    for (uint32_t i = 0; i < stretch.ids; ++i) {
      const Tally other = {1, memory_.few_units[i]};
      if (few[i] >> ignored < own >> ignored) before = before + other;
      if (few[i] >> ignored <= own >> ignored) upto = upto + other;
    }
    if (!goal.Reached(stretch.Upto(before)) && goal.Reached(stretch.Upto(upto))) {
      memory_.place = {OrderId(own), stretch.Upto(upto).mass};
    }
  }

  TokenSearchMemory& memory_;
  const TokenChunk chunk_;
  const TokenScale scale_;
  const cooperative_groups::cluster_group cluster_ = cooperative_groups::this_cluster();
  int searches_ = 0;
  ThreadTallies whole_;  // of the first level, in mass
  uint64_t units_[kThreadBins];
};

}  // namespace glimpse::kernels

#endif  // GLIMPSE_ENGINE_KERNELS_DEVICE_TOKEN_SEARCH_CUH_
