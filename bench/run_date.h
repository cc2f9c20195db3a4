// When a benchmark ran, and what was built: what can be said without a GPU.
#ifndef GLIMPSE_BENCH_RUN_DATE_H_
#define GLIMPSE_BENCH_RUN_DATE_H_

#include <string>

namespace glimpse::bench {

std::string RunDate();  // now, in UTC
// What the environment variable GLIMPSE_COMMIT says; "unknown" where it is not set.
std::string RunCommit();

}  // namespace glimpse::bench

#endif  // GLIMPSE_BENCH_RUN_DATE_H_
