// Where and when a benchmark ran, for the head of its output.
#ifndef GLIMPSE_BENCH_RUN_INFO_H_
#define GLIMPSE_BENCH_RUN_INFO_H_

#include <string>

namespace glimpse::bench {

// Three lines with `prefix` before each: the card, and the date and the commit of run_date.h.
std::string RunInfo(const std::string& prefix);

}  // namespace glimpse::bench

#endif  // GLIMPSE_BENCH_RUN_INFO_H_
