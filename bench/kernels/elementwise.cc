// What stands between the matrix products of a prefill of 2048 tokens and of one picture, on the
// 9B's sizes.
#include <cstdint>
#include <memory>
#include <numeric>
#include <vector>

#include "bench/kernels/cases.h"

namespace glimpse::bench {
namespace {

using kernels::bf16;

constexpr int64_t kBf16 = sizeof(bf16);
constexpr int kTokens = 2048;
constexpr int kHidden = 4096;
constexpr int kHeads = 32;
constexpr int kKvHeads = 2;
constexpr int kImageSize = 1120;
constexpr int kPatch = 14;
constexpr int kPictureRows = 6401;
constexpr int kWidth = 1792;

template <typename Args, typename Make>
Case MakeCase(const char* kernel, const char* shape, int64_t bytes, Make make) {
  auto memory = std::make_shared<DeviceMemory>();
  std::vector<Args> turns;
  for (int i = Turns(static_cast<double>(bytes)); i > 0; --i) turns.push_back(make(memory.get()));
  return {kernel, shape, static_cast<double>(bytes), 0, memory, InTurn(std::move(turns))};
}

Case EmbedCase() {
  const int64_t values = int64_t{kTokens} * kHidden;
  return MakeCase<kernels::Embed>("embed", "2048 x 4096", 2 * values * kBf16, [&](auto* memory) {
    std::vector<int32_t> ids(kTokens);
    for (int i = 0; i < kTokens; ++i) ids[i] = i * 7 % (2 * kTokens);
    kernels::Embed args;
    args.tokens = memory->Copy(ids);
    args.embeddings = memory->Random(2 * values);
    args.out = memory->template Zeros<bf16>(values);
    args.num_tokens = kTokens;
    args.hidden = kHidden;
    return args;
  });
}

Case RmsNormCase() {
  const int64_t values = int64_t{kTokens} * kHidden;
  return MakeCase<kernels::RmsNorm>("rms_norm", "2048 x 4096", 2 * values * kBf16,
                                    [&](auto* memory) {
                                      kernels::RmsNorm args;
                                      args.x = memory->Random(values);
                                      args.weight = memory->Random(kHidden);
                                      args.out = memory->template Zeros<bf16>(values);
                                      args.rows = kTokens;
                                      args.hidden = kHidden;
                                      args.eps = 1e-5f;
                                      return args;
                                    });
}

Case RopeAndCacheCase() {
  constexpr int64_t kAllHeads = kHeads + 2 * kKvHeads;
  constexpr int64_t kKv = int64_t{kTokens} * kKvHeads * kernels::kHeadSize;
  const int64_t values = kTokens * kAllHeads * kernels::kHeadSize;
  return MakeCase<kernels::RopeAndCache>(
      "rope_and_cache", "2048 x 36 heads", 2 * values * kBf16, [&](auto* memory) {
        std::vector<int32_t> places(kTokens);
        std::iota(places.begin(), places.end(), 0);
        kernels::RopeAndCache args;
        args.qkv = memory->Random(values);
        args.bias = memory->Random(kAllHeads * kernels::kHeadSize);
        args.cos = memory->template Zeros<float>(kTokens * kernels::kRotaryPairs);
        args.sin = memory->template Zeros<float>(kTokens * kernels::kRotaryPairs);
        args.positions = args.cache_rows = memory->Copy(places);
        args.keys = memory->template Zeros<bf16>(kKv);
        args.values = memory->template Zeros<bf16>(kKv);
        args.num_tokens = kTokens;
        args.heads = kHeads;
        args.kv_heads = kKvHeads;
        return args;
      });
}

Case PatchesCase() {
  constexpr int64_t kValues = int64_t{kImageSize} * kImageSize * 3;
  return MakeCase<kernels::Patches>("patches", "1120 x 1120", kValues * (1 + kBf16),
                                    [&](auto* memory) {
                                      kernels::Patches args;
                                      args.pixels = memory->template Zeros<uint8_t>(kValues);
                                      args.out = memory->template Zeros<bf16>(kValues);
                                      args.pictures = 1;
                                      args.size = kImageSize;
                                      args.patch = kPatch;
                                      return args;
                                    });
}

Case AddLayerNormCase() {
  const int64_t values = int64_t{kPictureRows} * kWidth;
  return MakeCase<kernels::AddLayerNorm>("add_layer_norm", "6401 x 1792", 3 * values * kBf16,
                                         [&](auto* memory) {
                                           kernels::AddLayerNorm args;
                                           args.x = memory->Random(values);
                                           args.y = memory->Random(values);
                                           args.weight = memory->Random(kWidth);
                                           args.bias = memory->Random(kWidth);
                                           args.rows = kPictureRows;
                                           args.width = kWidth;
                                           args.eps = 1e-6f;
                                           return args;
                                         });
}

}  // namespace

std::vector<Case> ElementwiseCases() {
  return {EmbedCase(), RmsNormCase(), RopeAndCacheCase(), PatchesCase(), AddLayerNormCase()};
}

}  // namespace glimpse::bench
