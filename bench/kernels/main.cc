// glimpse-kernels: each kernel's time on the sizes of GLM-4V-9B, beside the least time that the
// card's memory and its tensor cores allow.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <fstream>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "bench/kernels/cases.h"
#include "bench/kernels/harness.h"
#include "bench/run_info.h"
#include "engine/kernels/cuda_error.h"

ABSL_FLAG(std::string, csv, "", "file that takes the table as comma-separated values");
ABSL_FLAG(std::string, only, "", "time only the operators whose name holds this");

namespace glimpse::bench {
namespace {

struct Operator {
  const char* name;
  std::vector<Case> (*cases)();
};
constexpr Operator kOperators[] = {
    {"decode_attention", DecodeAttentionCases}, {"decode_linear", DecodeLinearCases},
    {"elementwise", ElementwiseCases},          {"prefill_gated", PrefillGatedCases},
    {"prompt_attention", PromptAttentionCases}, {"sample", SampleCases},
};

// Microseconds that the wall asks for: whichever of memory and tensor cores takes longer.
double WallTime(const Case& timed, const Walls& walls) {
  return std::max(timed.bytes / walls.read_gb_s / 1e3, timed.flops / walls.product_tflop_s / 1e6);
}

void Report(const Case& timed, const Summary& time, const Walls& walls, std::ostream* csv) {
  const double gb_s = timed.bytes / time.median / 1e3;
  const double tflop_s = timed.flops / time.median / 1e6;
  const double share = WallTime(timed, walls) / time.median;
  std::cout << absl::StreamFormat("%-18s %-40s %10.1f %9.2f %9.2f %8.0f %8.1f %6.1f%%\n",
                                  timed.kernel, timed.shape, timed.bytes / 1e6, time.median,
                                  time.p99, gb_s, tflop_s, 100 * share)
            << std::flush;
  *csv << absl::StreamFormat("%s,%s,%.0f,%.0f,%.3f,%.3f,%.1f,%.1f,%.4f\n", timed.kernel,
                             timed.shape, timed.bytes, timed.flops, time.median, time.p99, gb_s,
                             tflop_s, share);
}

void Run(std::ostream* csv) {
  cudaStream_t stream = nullptr;
  CheckCuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
  const Walls walls = MeasureWalls(stream);
  const std::string head =
      absl::StrFormat("%s# walls: read %.0f GB/s, bf16 product of 8192 cubed %.0f TFLOP/s\n",
                      RunInfo("# "), walls.read_gb_s, walls.product_tflop_s);
  std::cout << head
            << absl::StreamFormat("%-18s %-40s %10s %9s %9s %8s %8s %7s\n", "kernel", "shape", "MB",
                                  "median us", "p99 us", "GB/s", "TFLOP/s", "of wall");
  *csv << head << "kernel,shape,bytes,flops,median_us,p99_us,gb_s,tflop_s,share_of_wall\n";
  for (const Operator& op : kOperators) {
    if (!absl::StrContains(op.name, absl::GetFlag(FLAGS_only))) continue;
    const std::vector<Case> cases = op.cases();
    CheckCuda(cudaDeviceSynchronize(), op.name);
    for (const Case& timed : cases) Report(timed, Time(timed, stream), walls, csv);
  }
  CheckCuda(cudaStreamDestroy(stream), "cudaStreamDestroy");
}

}  // namespace
}  // namespace glimpse::bench

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("times the engine's kernels on this machine's GPU");
  absl::ParseCommandLine(argc, argv);
  const std::string path = absl::GetFlag(FLAGS_csv);
  std::ofstream csv(path.empty() ? "/dev/null" : path);
  try {
    glimpse::bench::Run(&csv);
  } catch (const std::exception& error) {
    std::cerr << "glimpse-kernels: " << error.what() << "\n";
    return 1;
  }
  csv.close();
  if (!csv) {
    std::cerr << "glimpse-kernels: " << path << " could not be written\n";
    return 1;
  }
  return 0;
}
