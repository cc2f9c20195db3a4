// A flag type for counts and bytes that reads and writes units: "16MiB", "1GiB", "50M", "512".
#ifndef GLIMPSE_SERVER_SIZE_FLAG_H_
#define GLIMPSE_SERVER_SIZE_FLAG_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace glimpse {

// K, M, G are powers of 1000; KiB, MiB, GiB powers of 1024.
struct Size {
  int64_t value = 0;
};

// Abseil's extension points for flags. A number that is negative, broken or over 2^63-1 is an
// error.
bool AbslParseFlag(absl::string_view text, Size* size, std::string* error);
std::string AbslUnparseFlag(Size size);

}  // namespace glimpse

#endif  // GLIMPSE_SERVER_SIZE_FLAG_H_
