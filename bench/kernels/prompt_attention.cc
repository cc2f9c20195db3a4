// Attention over whole prompts and pictures on the 9B's heads, a layer: bound by its products.
#include <cstdint>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "bench/kernels/cases.h"

namespace glimpse::bench {
namespace {

using kernels::bf16;

constexpr int kHeads = 32;
constexpr int kKvHeads = 2;
constexpr int kQkv = (kHeads + 2 * kKvHeads) * kernels::kHeadSize;
constexpr int kPictureRows = 6401;
constexpr int kVisionHeads = 16;
constexpr int kVisionHeadSize = kernels::kVisionHeadSize;

// `spans` prompts of `tokens` tokens each, from their beginning.
Case PrefillCase(int spans, int tokens) {
  auto memory = std::make_shared<DeviceMemory>();
  constexpr int64_t kHead = kernels::kHeadSize;
  const int blocks = (tokens + kernels::kKvBlockRows - 1) / kernels::kKvBlockRows;
  const int64_t all = int64_t{spans} * tokens;
  std::vector<int32_t> table(static_cast<size_t>(spans) * blocks), firsts;
  std::iota(table.begin(), table.end(), 0);
  for (int span = 0; span <= spans; ++span) firsts.push_back(span * tokens);

  kernels::PrefillAttention args;
  args.q_stride = kQkv;
  args.cache_rows = int64_t{spans} * blocks * kernels::kKvBlockRows;
  args.block_table = memory->Copy(table);
  args.first_tokens = memory->Copy(firsts);
  args.kv_lengths = memory->Copy(std::vector<int32_t>(spans, tokens));
  args.num_tokens = static_cast<int>(all);
  args.num_spans = spans;
  args.heads = kHeads;
  args.kv_heads = kKvHeads;
  args.max_blocks = blocks;
  args.workspace = memory->Zeros<uint8_t>(kernels::PrefillAttentionWorkspaceBytes());
  const int64_t cache = args.cache_rows * kKvHeads * kHead;
  const double bytes = sizeof(bf16) * (2.0 * static_cast<double>(all) * kHeads * kHead +
                                       2.0 * static_cast<double>(cache));
  std::vector<kernels::PrefillAttention> turns;
  for (int i = Turns(bytes); i > 0; --i) {
    args.q = memory->Random(all * kQkv);
    args.keys = memory->Random(cache);
    args.values = memory->Random(cache);
    args.out = memory->Zeros<bf16>(all * kHeads * kHead);
    turns.push_back(args);
  }
  const double keys = static_cast<double>(all) * (tokens + 1) / 2;
  return {"prefill_attention",
          std::to_string(spans) + " x " + std::to_string(tokens),
          bytes,
          4.0 * kHeads * kHead * keys,
          memory,
          InTurn(std::move(turns))};
}

Case VisionCase(int pictures) {
  auto memory = std::make_shared<DeviceMemory>();
  const int64_t values = int64_t{pictures} * kPictureRows * kVisionHeads * kVisionHeadSize;
  const double bytes = 4.0 * static_cast<double>(values) * sizeof(bf16);
  kernels::VisionAttention args;
  args.pictures = pictures;
  args.rows = kPictureRows;
  args.heads = kVisionHeads;
  args.head_size = kVisionHeadSize;
  args.workspace = memory->Zeros<uint8_t>(kernels::VisionAttentionWorkspaceBytes());
  std::vector<kernels::VisionAttention> turns;
  for (int i = Turns(bytes); i > 0; --i) {
    args.qkv = memory->Random(3 * values);
    args.out = memory->Zeros<bf16>(values);
    turns.push_back(args);
  }
  return {"vision_attention",
          std::to_string(pictures) + " x 6401",
          bytes,
          4.0 * kPictureRows * static_cast<double>(values),
          memory,
          InTurn(std::move(turns))};
}

}  // namespace

std::vector<Case> PromptAttentionCases() {
  return {PrefillCase(1, 512), PrefillCase(1, 1800), PrefillCase(4, 512), VisionCase(1),
          VisionCase(4)};
}

}  // namespace glimpse::bench
