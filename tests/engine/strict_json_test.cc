#include "engine/strict_json.h"

#include <catch2/catch.hpp>

#include "tests/engine/checkpoint_writer.h"

namespace glimpse {
namespace {

std::string FaultOf(const std::string& text) {
  const absl::StatusOr<nlohmann::json> value = ParseStrictJson(text, "f.json");
  REQUIRE(absl::IsInvalidArgument(value.status()));
  return std::string(value.status().message());
}

std::string Nested(int depth) {
  return "{\"a\":" + std::string(depth - 1, '[') + std::string(depth - 1, ']') + "}";
}

TEST_CASE("strict JSON gives the values of a valid object") {
  const absl::StatusOr<nlohmann::json> value =
      ParseStrictJson(R"({"a": [1, {"b": "x"}], "c": {"b": null}})", "f.json");
  REQUIRE(value.ok());
  CHECK((*value)["a"][1]["b"] == "x");
  CHECK((*value)["c"]["b"].is_null());
}

TEST_CASE("strict JSON names file and fault") {
  CHECK(FaultOf("{\"a\":1,}") == "f.json: not valid JSON at byte 8");
  CHECK(FaultOf("") == "f.json: not valid JSON at byte 1");
  CHECK(FaultOf("{\"a\":1} x") == "f.json: not valid JSON at byte 9");
  CHECK(FaultOf("{\"\xff\":1}") == "f.json: not valid JSON at byte 3");
  CHECK(FaultOf("{\"a\":1e999}") == "f.json: not valid JSON at byte 10");
  CHECK(FaultOf("17") == "f.json: expected a JSON object");
  CHECK(FaultOf("[{}]") == "f.json: expected a JSON object");
}

TEST_CASE("strict JSON refuses a key that appears twice in one object, however it is spelled") {
  CHECK(FaultOf(R"({"a":1,"b":2,"a":3})") == "f.json: the key 'a' appears twice");
  CHECK(FaultOf(R"({"x":{"a":1,"\u0061":2}})") == "f.json: the key 'a' appears twice");
  CHECK(ParseStrictJson(R"({"x":{"a":1},"y":{"a":1},"a":1})", "f.json").ok());
}

TEST_CASE("strict JSON bounds depth and number of values") {
  CHECK(ParseStrictJson(Nested(16), "f.json").ok());
  CHECK(FaultOf(Nested(17)) == "f.json: JSON nested deeper than 16");
  CHECK(FaultOf("{\"a\":" + std::string(10'000'000, '[')) == "f.json: JSON nested deeper than 16");
  std::string many = "{\"a\":[0";
  for (int i = 0; i < (1 << 20); ++i) many += ",0";
  CHECK(FaultOf(many + "]}") == "f.json: more than 1048576 JSON values");
}

TEST_CASE("strict JSON reads regular files alone") {
  const TemporaryDirectory directory;
  const std::string file = directory.path() + "/f.json";
  CHECK(absl::IsNotFound(ReadStrictJson(file).status()));
  WriteFile(file, "{\"a\": 1}");
  REQUIRE(ReadStrictJson(file).ok());
  CHECK((*ReadStrictJson(file))["a"] == 1);
  const absl::Status folder = ReadStrictJson(directory.path()).status();
  CHECK(folder == absl::InvalidArgumentError(directory.path() + ": not a regular file"));
}

TEST_CASE("text of a file is escaped and cut in messages") {
  CHECK(Quoted("a\n'b") == "'a\\n\\'b'");
  CHECK(Quoted(std::string(500, 'x')) == "'" + std::string(120, 'x') + "...'");
  CHECK(Shown(nlohmann::json(std::string(500, 'x'))) == "\"" + std::string(119, 'x') + "...");
}

}  // namespace
}  // namespace glimpse
