// The cases of glimpse-kernels, an operator a file.
#ifndef GLIMPSE_BENCH_KERNELS_CASES_H_
#define GLIMPSE_BENCH_KERNELS_CASES_H_

#include <vector>

#include "bench/kernels/harness.h"

namespace glimpse::bench {

std::vector<Case> DecodeAttentionCases();
std::vector<Case> DecodeLinearCases();
std::vector<Case> ElementwiseCases();
std::vector<Case> PrefillGatedCases();
std::vector<Case> PromptAttentionCases();
std::vector<Case> SampleCases();

}  // namespace glimpse::bench

#endif  // GLIMPSE_BENCH_KERNELS_CASES_H_
