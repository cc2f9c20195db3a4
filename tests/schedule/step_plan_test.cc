#include "engine/schedule/step_plan.h"

#include <catch2/catch.hpp>

namespace glimpse {
namespace {

TEST_CASE("Image rows are told from ids and keep their index") {
  CHECK(IsImageRow(ImageRow(0)));
  CHECK(IsImageRow(ImageRow(1601)));
  CHECK_FALSE(IsImageRow(0));
  CHECK_FALSE(IsImageRow(kLastToken));
  CHECK(ImageRowIndex(ImageRow(0)) == 0);
  CHECK(ImageRowIndex(ImageRow(1601)) == 1601);
}

TEST_CASE("A plan counts the tokens of its real rows and prints itself in a line") {
  StepPlan plan;
  CHECK(plan.DebugString() == "idle");
  plan.kind = StepKind::kPrefill;
  plan.rows.resize(2);
  plan.rows[0].sequence = 7;
  plan.rows[0].slot = 1;
  plan.rows[0].starts = true;
  plan.rows[0].tokens = {1, 2, 3};
  plan.rows[1].sequence = 9;
  plan.rows[1].slot = 0;
  plan.rows[1].samples = true;
  plan.rows[1].tokens = {4};
  plan.rows[1].kv_length = 16;
  plan.num_real_rows = 2;
  plan.bucket = 64;
  CHECK(plan.NumTokens() == 4);
  CHECK(plan.Size() == 64);
  CHECK(plan.DebugString() ==
        "prefill rows 2 tokens 4 bucket 64: [#7 slot 1 kv 0+3 starts] [#9 slot 0 kv 16+1 samples]");

  plan.kind = StepKind::kDecode;
  plan.num_real_rows = 1;
  plan.bucket = 2;
  CHECK(plan.NumTokens() == 3);
  CHECK(plan.Size() == 2);
  CHECK(plan.DebugString() == "decode rows 1 tokens 3 bucket 2: [#7 slot 1 kv 0+3 starts]");
}

TEST_CASE("A vision plan says which layers it runs") {
  StepPlan plan;
  plan.kind = StepKind::kVision;
  plan.rows.resize(2);
  plan.rows[0].sequence = 7;
  plan.rows[0].slot = 1;
  plan.num_real_rows = plan.bucket = 2;
  plan.first_layer = 7;
  plan.end_layer = 14;
  CHECK(plan.Size() == 14);
  CHECK(plan.DebugString() ==
        "vision rows 2 tokens 0 bucket 2 layers 7-14: [#7 slot 1 kv 0+0] [#-1 slot -1 kv 0+0]");
}

}  // namespace
}  // namespace glimpse
