// Decode attention on the 9B's heads: what a layer reads of the cache, by rows and context.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "bench/kernels/cases.h"

namespace glimpse::bench {
namespace {

using kernels::bf16;

constexpr int kKvHeads = 2;
constexpr int kGroup = 16;
constexpr int kMaxBlocks = 8192 / kernels::kKvBlockRows;

Case DecodeAttentionCase(int rows, int context) {
  auto memory = std::make_shared<DeviceMemory>();
  const int blocks = (context + kernels::kKvBlockRows - 1) / kernels::kKvBlockRows;
  std::vector<int32_t> order(int64_t{rows} * blocks);  // the cache's blocks, scattered
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), std::mt19937(1));
  std::vector<int32_t> table(int64_t{rows} * kMaxBlocks);
  for (int row = 0; row < rows; ++row) {
    std::copy_n(&order[int64_t{row} * blocks], blocks, &table[int64_t{row} * kMaxBlocks]);
  }
  const int64_t heads = int64_t{rows} * kKvHeads * kGroup * kernels::kHeadSize;
  const int64_t cache =
      int64_t{rows} * blocks * kernels::kKvBlockRows * kKvHeads * kernels::kHeadSize;
  const double bytes = 2.0 * rows * context * kKvHeads * kernels::kHeadSize * sizeof(bf16);

  kernels::DecodeAttention args;
  args.q = memory->Random(heads);
  args.block_table = memory->Copy(table);
  args.lengths = memory->Copy(std::vector<int32_t>(rows, context));
  args.out = memory->Zeros<bf16>(heads);
  args.workspace =
      memory->Zeros<uint8_t>(static_cast<size_t>(kernels::DecodeAttentionWorkspaceBytes()));
  args.rows = rows;
  args.kv_heads = kKvHeads;
  args.group = kGroup;
  args.max_blocks = kMaxBlocks;
  std::vector<kernels::DecodeAttention> turns;
  for (int i = Turns(bytes); i > 0; --i) {
    args.keys = memory->Random(cache);
    args.values = memory->Random(cache);
    turns.push_back(args);
  }
  return {"decode_attention",
          std::to_string(rows) + " x " + std::to_string(context),
          bytes,
          0,
          memory,
          InTurn(std::move(turns))};
}

}  // namespace

std::vector<Case> DecodeAttentionCases() {
  std::vector<Case> cases;
  for (int rows : {1, 4, 8, 16, 32, 64}) cases.push_back(DecodeAttentionCase(rows, 1800));
  for (int context : {128, 512, 8192}) cases.push_back(DecodeAttentionCase(4, context));
  return cases;
}

}  // namespace glimpse::bench
