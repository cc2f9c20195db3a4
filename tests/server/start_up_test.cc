// What an operator sees: sizes in flags, progress.
#include <catch2/catch.hpp>
#include <string>

#include "server/progress.h"
#include "server/size_flag.h"

namespace glimpse {
namespace {

int64_t Parse(const std::string& text) {
  Size size;
  std::string error;
  return AbslParseFlag(text, &size, &error) ? size.value : -1;
}

TEST_CASE("sizes have units") {
  CHECK(Parse("512") == 512);
  CHECK(Parse("16MiB") == 16 << 20);
  CHECK(Parse("50M") == 50'000'000);
  CHECK(Parse("2GiB") == int64_t{2} << 30);
  CHECK(Parse("3K") == 3000);
  CHECK(Parse("0") == 0);
  for (const char* bad : {"", "-1", "1.5M", "MiB", "12 apples", "16mib", "9999999999G"}) {
    CHECK(Parse(bad) == -1);
  }
}

TEST_CASE("a size is written so that it reads back as itself") {
  CHECK(AbslUnparseFlag({16 << 20}) == "16MiB");
  CHECK(AbslUnparseFlag({50'000'000}) == "50M");
  for (const int64_t value : {0, 1, 999, 1000, 1024, 1536, 1'000'000'000, 1 << 30}) {
    CHECK(Parse(AbslUnparseFlag({value})) == value);
  }
}

TEST_CASE("progress says how much, how fast and how long still") {
  const std::string half = ProgressText(1'000 << 20, 2'000 << 20, absl::Seconds(2));
  CHECK(half.find("50 %") != std::string::npos);
  CHECK(half.find("1000.0 of 2000.0 MiB") != std::string::npos);
  CHECK(half.find("0.52 GB/s") != std::string::npos);
  CHECK(half.find("2 s left") != std::string::npos);
  CHECK(ProgressText(0, 0, absl::ZeroDuration()).find("100 %") != std::string::npos);
}

}  // namespace
}  // namespace glimpse
