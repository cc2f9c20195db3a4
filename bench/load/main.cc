// glimpse-load: many clients at once, and what they saw.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/flags/usage_config.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "bench/load/load_options.h"
#include "bench/load/report.h"
#include "bench/load/run.h"
#include "bench/load/target.h"
#include "preprocess/status_macros.h"

namespace glimpse::bench {
namespace {

constexpr char kUsage[] =
    "sends chats to a Glimpse server and reports what its users would have seen\n\n"
    "  glimpse-load --server=127.0.0.1:50051 --concurrency=64 --duration=30s   closed loop\n"
    "  glimpse-load --rate=20 --duration=30s --picture_share=0.1 --json=report.json   open loop\n\n"
    "Times are this program's: first token (request sent to first delta), inter-token (a delta of "
    "k\n"
    "tokens, g after the last one, counts as k gaps of g / k), delta gap, total. Latencies are of\n"
    "calls sent after --warm_up; rates are of what came between --warm_up and --duration.\n"
    "Ends with 1 if no answer was complete, and with 2 if the test could not start.";

absl::Status WriteFile(const std::string& path, const std::string& text) {
  std::ofstream file(path);
  file << text;
  file.close();
  return file ? absl::OkStatus() : absl::UnavailableError("can't write " + path);
}

// True: some answers were complete.
absl::StatusOr<bool> Load() {
  GLIMPSE_ASSIGN_OR_RETURN(const LoadOptions options, LoadOptionsFromFlags());
  GLIMPSE_ASSIGN_OR_RETURN(const Target target, Target::Probe(options));
  const RunResult result = RunLoad(options, target);
  std::fputs(ReportText(options, target, result).c_str(), stdout);
  if (!options.json.empty()) {
    GLIMPSE_RETURN_IF_ERROR(WriteFile(options.json, ReportJson(options, target, result)));
  }
  return result.end.completed > 0;
}

// --help lists the flags of load_options.cc and no library's.
void DescribeFlags() {
  absl::FlagsUsageConfig config;
  config.contains_help_flags = [](absl::string_view file) {
    return absl::EndsWith(file, "load/load_options.cc");
  };
  absl::SetFlagsUsageConfig(config);
  absl::SetProgramUsageMessage(kUsage);
}

int Main(int argc, char** argv) {
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);
  DescribeFlags();
  const std::vector<char*> arguments = absl::ParseCommandLine(argc, argv);
  const absl::StatusOr<bool> succeeded =
      arguments.size() > 1
          ? absl::InvalidArgumentError(absl::StrCat("unexpected argument: ", arguments[1]))
          : Load();
  if (succeeded.ok()) return *succeeded ? EXIT_SUCCESS : EXIT_FAILURE;
  std::fprintf(stderr, "glimpse-load: %s\n", std::string(succeeded.status().message()).c_str());
  return 2;
}

}  // namespace
}  // namespace glimpse::bench

int main(int argc, char** argv) { return glimpse::bench::Main(argc, argv); }
