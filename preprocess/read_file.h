#ifndef GLIMPSE_PREPROCESS_READ_FILE_H_
#define GLIMPSE_PREPROCESS_READ_FILE_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"

namespace glimpse {

// The whole file. NOT_FOUND if it can't be opened, INVALID_ARGUMENT if it can't be read or holds
// more than `limit_bytes`; the message names the path.
absl::StatusOr<std::string> ReadFile(const std::string& path, size_t limit_bytes);

}  // namespace glimpse

#endif  // GLIMPSE_PREPROCESS_READ_FILE_H_
