// glimpse-trace: every function of CUDA that the host calls in a decode step, to show what is not
// among them: allocations, and waits before the next step is enqueued. Exit status 1 where there is
// one.
#include <c10/cuda/CUDACachingAllocator.h>

#include <algorithm>
#include <exception>
#include <iostream>
#include <memory>
#include <string>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "bench/grid/batch.h"
#include "bench/run_info.h"
#include "bench/trace/api_log.h"
#include "engine/engine.h"
#include "preprocess/status_macros.h"

ABSL_FLAG(std::string, model, "bench/glm-4v-9b",
          "directory of a config.json; the weights are random");
ABSL_FLAG(int, batch, 4, "sequences");
ABSL_FLAG(int, text, 1800, "tokens of a sequence before the first step");
ABSL_FLAG(int, steps, 50, "steps that count");

namespace glimpse::bench {
namespace {

constexpr int kWarmUps = 5;

int64_t Allocations() {
  return c10::cuda::CUDACachingAllocator::getDeviceStats(0).allocation[0].allocated;
}

// `steps` steps as a server runs them: the next is launched before the one before it is finished.
absl::Status Decode(Engine& engine, const StepPlan& plan, int steps, ApiLog* log) {
  int finished = 0;
  for (int launched = 1; finished < steps; ++launched) {
    if (launched <= steps) {
      log->EnterPhase("launch");
      GLIMPSE_RETURN_IF_ERROR(engine.Launch(plan));
    }
    if (launched >= engine.depth()) {
      log->EnterPhase("finish");
      GLIMPSE_RETURN_IF_ERROR(engine.Finish().status());
      ++finished;
    }
  }
  return absl::OkStatus();
}

// Whether a step may not call it. Finish waits once, for the step before the one that runs.
bool IsForbidden(const std::string& phase, const std::string& call) {
  for (const char* word : {"Malloc", "MemAlloc", "Free", "HostAlloc", "Instantiate", "Capture"}) {
    if (absl::StrContains(call, word)) return true;
  }
  const bool waits = absl::StrContains(call, "Synchronize") || call == "cudaMemcpy";
  return waits && !(phase == "finish" && absl::StartsWith(call, "cudaEventSynchronize"));
}

// Whether all is as it should be.
bool Report(const ApiLog::Calls& log, double allocations, int steps) {
  bool clean = allocations == 0;
  std::cout << RunInfo("# ")
            << absl::StreamFormat("%-7s %-40s %10s %10s\n", "phase", "call", "a step", "us each");
  for (const auto& [key, calls] : log) {
    const bool forbidden = IsForbidden(key.first, key.second);
    clean = clean && !forbidden;
    std::cout << absl::StreamFormat("%-7s %-40s %10.2f %10.2f%s\n", key.first, key.second,
                                    static_cast<double>(calls.count) / steps,
                                    calls.host_us / calls.count,
                                    forbidden ? "  <- must not be" : "");
  }
  std::cout << absl::StreamFormat("tensors allocated: %.2f a step\n", allocations / steps);
  return clean;
}

absl::StatusOr<bool> Run() {
  const Shape shape{absl::GetFlag(FLAGS_batch), absl::GetFlag(FLAGS_text), false};
  const int steps = std::max(absl::GetFlag(FLAGS_steps), 1);
  EngineOptions options;
  options.model_dir = absl::GetFlag(FLAGS_model);
  options.load_format = LoadFormat::kDummy;
  options.device = "cuda";
  options.max_batch_size = shape.batch;
  options.max_context = shape.text + 1;
  options.capture = "lazy";
  GLIMPSE_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine, Engine::Create(options));
  GLIMPSE_RETURN_IF_ERROR(Batch::Check(shape, engine->limits()));
  const Batch batch(shape, engine->limits());
  for (const StepPlan& plan : batch.Prefill()) {
    GLIMPSE_RETURN_IF_ERROR(RunStep(*engine, plan).status());
  }
  const StepPlan plan = batch.Decode();
  {
    ApiLog warm_up;
    GLIMPSE_RETURN_IF_ERROR(Decode(*engine, plan, kWarmUps, &warm_up));
  }
  ApiLog::Calls calls;
  const int64_t before = Allocations();
  {
    ApiLog log;
    GLIMPSE_RETURN_IF_ERROR(Decode(*engine, plan, steps, &log));
    calls = log.calls();
  }
  return Report(calls, static_cast<double>(Allocations() - before), steps);
}

}  // namespace
}  // namespace glimpse::bench

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("shows what the host calls in a decode step");
  absl::ParseCommandLine(argc, argv);
  absl::StatusOr<bool> clean;
  try {
    clean = glimpse::bench::Run();
  } catch (const std::exception& error) {
    clean = absl::InternalError(error.what());
  }
  if (!clean.ok()) std::cerr << "glimpse-trace: " << clean.status() << "\n";
  return clean.ok() && *clean ? 0 : 1;
}
