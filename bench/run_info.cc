#include "bench/run_info.h"

#include <cuda_runtime_api.h>

#include "absl/strings/str_cat.h"
#include "bench/run_date.h"
#include "engine/kernels/cuda_error.h"

namespace glimpse::bench {

std::string RunInfo(const std::string& prefix) {
  cudaDeviceProp card;
  CheckCuda(cudaGetDeviceProperties(&card, 0), "cudaGetDeviceProperties");
  int driver = 0;
  CheckCuda(cudaDriverGetVersion(&driver), "cudaDriverGetVersion");
  return absl::StrCat(prefix, "card: ", card.name, ", ", card.multiProcessorCount,
                      " SMs, driver for CUDA ", driver / 1000, ".", driver % 1000 / 10, "\n",
                      prefix, "date: ", RunDate(), "\n", prefix, "commit: ", RunCommit(), "\n");
}

}  // namespace glimpse::bench
