#include "bench/run_info.h"

#include <cuda_runtime_api.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "engine/kernels/cuda_error.h"

namespace glimpse::bench {

std::string RunInfo(const std::string& prefix) {
  cudaDeviceProp card;
  CheckCuda(cudaGetDeviceProperties(&card, 0), "cudaGetDeviceProperties");
  int driver = 0;
  CheckCuda(cudaDriverGetVersion(&driver), "cudaDriverGetVersion");
  const char* commit = std::getenv("GLIMPSE_COMMIT");
  return absl::StrCat(
      prefix, "card: ", card.name, ", ", card.multiProcessorCount, " SMs, driver for CUDA ",
      driver / 1000, ".", driver % 1000 / 10, "\n", prefix,
      "date: ", absl::FormatTime("%Y-%m-%d %H:%M UTC", absl::Now(), absl::UTCTimeZone()), "\n",
      prefix, "commit: ", commit == nullptr ? "unknown" : commit, "\n");
}

}  // namespace glimpse::bench
