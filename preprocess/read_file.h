// Reading of files that nobody vouches for. Only regular files: a pipe or a device in the place of
// one is refused and holds nobody up. Messages begin with the path.
#ifndef GLIMPSE_PREPROCESS_READ_FILE_H_
#define GLIMPSE_PREPROCESS_READ_FILE_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"

namespace glimpse {

struct OpenFile {
  int descriptor;  // the caller's to close
  size_t size;     // bytes
};

// NOT_FOUND: no such file; INVALID_ARGUMENT: it can't be opened or is not a regular file.
absl::StatusOr<OpenFile> OpenRegularFile(const std::string& path);

// The whole file. Errors as above, and INVALID_ARGUMENT if it can't be read or holds more than
// `limit_bytes`.
absl::StatusOr<std::string> ReadFile(const std::string& path, size_t limit_bytes);

}  // namespace glimpse

#endif  // GLIMPSE_PREPROCESS_READ_FILE_H_
