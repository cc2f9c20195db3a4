// What a load test says at its end.
#ifndef GLIMPSE_BENCH_LOAD_REPORT_H_
#define GLIMPSE_BENCH_LOAD_REPORT_H_

#include <string>

#include "bench/load/load_options.h"
#include "bench/load/run.h"
#include "bench/load/target.h"

namespace glimpse::bench {

// For people: a head, a table of latencies, a table of how calls ended.
std::string ReportText(const LoadOptions& options, const Target& target, const RunResult& result);

// For programs. Times in milliseconds; each latency with count, mean, p50, p90, p99, max and, to
// draw, "curve": the times at the shares that "curve_shares" lists.
std::string ReportJson(const LoadOptions& options, const Target& target, const RunResult& result);

}  // namespace glimpse::bench

#endif  // GLIMPSE_BENCH_LOAD_REPORT_H_
