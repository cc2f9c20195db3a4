#include "bench/load/load_options.h"

#include <catch2/catch.hpp>
#include <limits>
#include <map>

#include "absl/flags/reflection.h"

namespace glimpse::bench {
namespace {

absl::StatusOr<LoadOptions> Read(const std::map<std::string, std::string>& flags) {
  const absl::FlagSaver saver;  // sets all of them back
  for (const auto& [name, value] : flags) {
    CAPTURE(name, value);
    std::string error;
    REQUIRE(absl::FindCommandLineFlag(name)->ParseFrom(value, &error));
  }
  return LoadOptionsFromFlags();
}

TEST_CASE("without an amount, calls are sent for 10 s") {
  const absl::StatusOr<LoadOptions> options = Read({});
  REQUIRE(options.ok());
  CHECK(options->duration == absl::Seconds(10));
  CHECK(options->requests == std::numeric_limits<int64_t>::max());
}

TEST_CASE("a number of calls is sent however long it takes") {
  const absl::StatusOr<LoadOptions> options = Read({{"requests", "7"}});
  REQUIRE(options.ok());
  CHECK(options->duration == absl::InfiniteDuration());
  CHECK(options->requests == 7);
}

TEST_CASE("a warm-up leaves some of the time to measure, the default time too") {
  CHECK(Read({{"warm_up", "9s"}}).ok());
  CHECK(Read({{"warm_up", "11s"}, {"duration", "12s"}}).ok());
  const absl::Status status = Read({{"warm_up", "11s"}}).status();
  CHECK(absl::IsInvalidArgument(status));
  CHECK(status.message().find("--warm_up=11s") != std::string::npos);
}

TEST_CASE("a closed loop of readers that never read has to be told when it ends") {
  std::map<std::string, std::string> flags = {
      {"slow_share", "0.5"}, {"slow_read", "inf"}, {"requests", "7"}};
  const absl::Status status = Read(flags).status();
  CHECK(absl::IsInvalidArgument(status));
  CHECK(status.message().find("--duration=inf") != std::string::npos);

  for (const auto& [name, value] : std::map<std::string, std::string>{
           {"duration", "5s"}, {"requests", "0"}, {"rate", "9"}, {"slow_read", "1s"}}) {
    CAPTURE(name);
    std::map<std::string, std::string> ends = flags;
    ends[name] = value;
    CHECK(Read(ends).ok());
  }
}

}  // namespace
}  // namespace glimpse::bench
