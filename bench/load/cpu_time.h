// CPU time of a process, all of its threads together.
#ifndef GLIMPSE_BENCH_LOAD_CPU_TIME_H_
#define GLIMPSE_BENCH_LOAD_CPU_TIME_H_

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace glimpse::bench {

absl::Duration OwnCpuTime();
// In steps of the kernel's clock tick, 10 ms. NOT_FOUND: no such process.
absl::StatusOr<absl::Duration> CpuTimeOf(int pid);

}  // namespace glimpse::bench

#endif  // GLIMPSE_BENCH_LOAD_CPU_TIME_H_
