#include "server/size_flag.h"

#include <limits>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace glimpse {
namespace {

struct Unit {
  const char* name;
  int64_t factor;
};

// Largest first, so that a size is written in the largest unit that divides it.
constexpr Unit kUnits[] = {
    {"GiB", int64_t{1} << 30}, {"G", 1'000'000'000}, {"MiB", int64_t{1} << 20},
    {"M", 1'000'000},          {"KiB", 1 << 10},     {"K", 1'000},
};

}  // namespace

bool AbslParseFlag(absl::string_view text, Size* size, std::string* error) {
  int64_t factor = 1;
  for (const Unit& unit : kUnits) {
    if (absl::ConsumeSuffix(&text, unit.name)) {
      factor = unit.factor;
      break;
    }
  }
  int64_t number = 0;
  if (!absl::SimpleAtoi(text, &number) || number < 0 ||
      number > std::numeric_limits<int64_t>::max() / factor) {
    *error = "must be a whole number, with K, M, G, KiB, MiB or GiB behind it if wanted";
    return false;
  }
  size->value = number * factor;
  return true;
}

std::string AbslUnparseFlag(Size size) {
  for (const Unit& unit : kUnits) {
    if (size.value > 0 && size.value % unit.factor == 0) {
      return absl::StrCat(size.value / unit.factor, unit.name);
    }
  }
  return absl::StrCat(size.value);
}

}  // namespace glimpse
