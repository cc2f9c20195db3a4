// A device error that stays. It spoils the process for all that comes, hence a binary of its own
// with one test.
#include <cuda_runtime_api.h>

#include <catch2/catch.hpp>

#include "engine/kernels/kernels.h"
#include "tests/engine/engine_fixture.h"
#include "tests/gpu/gpu_fixture.h"

namespace glimpse {
namespace {

StepPlan OnePrompt() {
  StepRow row;
  row.slot = 0;
  row.starts = true;
  row.tokens = {1, 2, 3};
  row.positions = {0, 1, 2};
  row.blocks = {0};
  row.samples = true;
  return PrefillPlan({row});
}

TEST_CASE("an illegal address fails the steps in flight, and all later ones at once") {
  TemporaryDirectory directory;
  WideCheckpoint().Write(directory.path());
  const auto engine = CreateEngine(WideOptions(directory.path()));
  REQUIRE(RunStep(*engine, OnePrompt()).ok());
  CHECK(!engine->broken());

  REQUIRE(engine->Launch(OnePrompt()).ok());
  constexpr int kVocabulary = 64;
  auto* nowhere = reinterpret_cast<uint32_t*>(256);
  Launch(kernels::StartSlot{nullptr, 0, nowhere, kVocabulary}, /*stream=*/nullptr);
  CHECK(cudaDeviceSynchronize() == cudaErrorIllegalAddress);
  CHECK(!engine->broken());  // it has not seen it
  CHECK(engine->Finish().status().code() == absl::StatusCode::kInternal);
  CHECK(engine->broken());
  const absl::Status later = engine->Launch(OnePrompt());
  CHECK(later.code() == absl::StatusCode::kInternal);
  CHECK(later.message() == "the device has failed for good");
  CHECK(!engine->Upkeep());
  CHECK(engine->memory().weights > 0);
  CHECK(engine->Reload().code() == absl::StatusCode::kInternal);
}  // what is left can be destroyed

}  // namespace
}  // namespace glimpse
