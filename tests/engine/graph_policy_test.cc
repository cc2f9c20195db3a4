#include "engine/graph_policy.h"

#include <catch2/catch.hpp>
#include <string>

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

TEST_CASE("only lazy captures what is missing at its first use") {
  CHECK(Policy("lazy").value().at_first_use);
  CHECK(!Policy("eager").value().at_first_use);
  CHECK(!Policy("decode:4").value().at_first_use);
}

GraphUse Recorded(int64_t last_step) { return {.recorded = true, .last_step = last_step}; }
GraphUse Missed(int64_t misses) { return {.misses = misses}; }

// What a quiet moment is used for, as "record decode 8".
std::string QuietMoment(const std::map<GraphKey, GraphUse>& uses, int64_t steps) {
  const GraphChange change = NextGraphChange(uses, steps);
  if (change.action == GraphChange::kNone) return "nothing";
  return std::string(change.action == GraphChange::kRecord ? "record " : "drop ") +
         (change.key.kind == StepKind::kDecode ? "decode " : "prefill ") +
         std::to_string(change.key.bucket);
}

TEST_CASE("a size that is missed often gets a graph, the most missed first") {
  CHECK(QuietMoment({}, 1000) == "nothing");
  CHECK(QuietMoment({{Decode(4), Recorded(900)}, {Decode(8), Missed(15)}}, 1000) == "nothing");
  CHECK(QuietMoment({{Decode(4), Recorded(900)}, {Decode(8), Missed(16)}}, 1000) ==
        "record decode 8");
  CHECK(QuietMoment({{Decode(8), Missed(20)}, {Prefill(64), Missed(21)}}, 1000) ==
        "record prefill 64");
}

TEST_CASE("a graph that was long not used is dropped, the longest unused first") {
  const int64_t now = 3 * kStepsOfDisuse;
  const GraphUse used = Recorded(now - kStepsOfDisuse + 1), unused = Recorded(now - kStepsOfDisuse),
                 never = Recorded(0);
  CHECK(QuietMoment({{Decode(4), used}, {Decode(8), used}}, now) == "nothing");
  CHECK(QuietMoment({{Decode(4), used}, {Decode(8), unused}}, now) == "drop decode 8");
  CHECK(QuietMoment({{Decode(4), unused}, {Decode(8), never}, {Prefill(64), unused}}, now) ==
        "drop decode 8");
  CHECK(QuietMoment({{Decode(4), used}, {Prefill(64), never}, {Prefill(128), Missed(16)}}, now) ==
        "record prefill 128");
}

TEST_CASE("the last decode graph is kept") {
  const int64_t now = 3 * kStepsOfDisuse;
  CHECK(QuietMoment({{Decode(4), Recorded(0)}}, now) == "nothing");
  CHECK(QuietMoment({{Decode(4), Recorded(0)}, {Decode(8), Missed(3)}}, now) == "nothing");
  CHECK(QuietMoment({{Decode(4), Recorded(0)}, {Prefill(64), Recorded(1)}}, now) ==
        "drop prefill 64");
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
