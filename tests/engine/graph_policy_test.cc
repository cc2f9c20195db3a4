#include "engine/graph_policy.h"

#include <catch2/catch.hpp>

namespace glimpse {
namespace {

const BucketTable& Buckets() {
  static const BucketTable buckets({4, 8, 16}, {64, 128, 256});
  return buckets;
}

absl::StatusOr<GraphPolicy> Policy(const std::string& capture, int max_batch_size = 16,
                                   int max_prefill_tokens = 256) {
  return MakeGraphPolicy("on", capture, Buckets(), max_batch_size, max_prefill_tokens);
}

GraphKey Decode(int rows) { return {StepKind::kDecode, rows}; }
GraphKey Prefill(int tokens) { return {StepKind::kPrefill, tokens}; }

TEST_CASE("eager captures all sizes at start") {
  const GraphPolicy policy = Policy("eager").value();
  CHECK(policy.enabled);
  CHECK(policy.sizes.size() == 6);
  CHECK(policy.at_start == policy.sizes);
}

TEST_CASE("lazy captures the smallest decode size at start and the others later") {
  const GraphPolicy policy = Policy("lazy").value();
  CHECK(policy.sizes.size() == 6);
  CHECK(policy.at_start == std::set<GraphKey>{Decode(4)});
}

TEST_CASE("a list says what is captured at start") {
  const GraphPolicy policy = Policy("decode:8,16;prefill:128").value();
  CHECK(policy.sizes.size() == 6);
  CHECK(policy.at_start == std::set<GraphKey>{Decode(8), Decode(16), Prefill(128)});
}

TEST_CASE("sizes that no step can have get no graph") {
  const GraphPolicy policy =
      Policy("eager", /*max_batch_size=*/5, /*max_prefill_tokens=*/200).value();
  CHECK(policy.sizes == std::set<GraphKey>{Decode(4), Decode(8), Prefill(64), Prefill(128)});
}

TEST_CASE("off means none") {
  const GraphPolicy policy = MakeGraphPolicy("off", "eager", Buckets(), 16, 256).value();
  CHECK(!policy.enabled);
  CHECK(policy.sizes.empty());
  CHECK(policy.at_start.empty());
}

TEST_CASE("other words and sizes that are no bucket are refused") {
  for (const char* capture : {"", "all", "decode", "decode:", "decode:4,", "decode:5", "prefill:4",
                              "vision:1", "decode:4;", "decode:4:8", "decode:-4"}) {
    INFO(capture);
    CHECK(Policy(capture).status().code() == absl::StatusCode::kInvalidArgument);
  }
  CHECK(MakeGraphPolicy("maybe", "eager", Buckets(), 16, 256).status().code() ==
        absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace glimpse
