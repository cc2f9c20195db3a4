// The wide product of a prefill with SwiGLU on the 9B's sizes, beside the library's product alone.
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bench/kernels/cases.h"

namespace glimpse::bench {
namespace {

using kernels::bf16;

constexpr int kHidden = 4096;
constexpr int kFfn = 13696;

// What must move, and 2 tokens x 2 ffn x hidden operations; `out_width`: channels of a result.
template <typename Args, typename Make>
Case MakeCase(const char* kernel, int tokens, int out_width, Make make) {
  const double x = 1.0 * tokens * kHidden, w = 2.0 * kFfn * kHidden, out = 1.0 * tokens * out_width;
  const double bytes = (x + w + out) * sizeof(bf16);
  auto memory = std::make_shared<DeviceMemory>();
  std::vector<Args> turns;
  for (int i = Turns(bytes); i > 0; --i) turns.push_back(make(memory.get()));
  return {kernel, std::to_string(tokens) + " x 2 x 13696 x 4096",
          bytes,  4.0 * x * kFfn,
          memory, InTurn(std::move(turns))};
}

Case GatedCase(int tokens) {
  return MakeCase<kernels::PrefillGated>("prefill_gated", tokens, kFfn, [=](auto* memory) {
    kernels::PrefillGated args;
    args.x = memory->Random(int64_t{tokens} * kHidden);
    args.w = memory->Random(int64_t{2} * kFfn * kHidden, 0.04f);
    args.out = memory->template Zeros<bf16>(int64_t{tokens} * kFfn);
    args.tokens = tokens;
    args.hidden = kHidden;
    args.ffn = kFfn;
    return args;
  });
}

Case LibraryCase(int tokens) {
  return MakeCase<LibraryProduct>("cuBLAS", tokens, 2 * kFfn, [=](auto* memory) {
    return LibraryProduct{memory->Random(int64_t{tokens} * kHidden),
                          memory->Random(int64_t{2} * kFfn * kHidden, 0.04f),
                          memory->template Zeros<bf16>(int64_t{tokens} * 2 * kFfn),
                          tokens,
                          2 * kFfn,
                          kHidden};
  });
}

}  // namespace

std::vector<Case> PrefillGatedCases() {
  std::vector<Case> cases;
  for (const int tokens : {64, 128, 256, 512, 1024, 1800, 2048}) {
    cases.push_back(GatedCase(tokens));
    cases.push_back(LibraryCase(tokens));
  }
  return cases;
}

}  // namespace glimpse::bench
