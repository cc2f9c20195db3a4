#include "preprocess/read_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "preprocess/status_macros.h"

namespace glimpse {
namespace {

absl::StatusOr<std::string> ReadOpenFile(const OpenFile& file, const std::string& path,
                                         size_t limit_bytes) {
  if (file.size > limit_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": larger than the limit of ", limit_bytes, " bytes"));
  }
  std::string content(file.size, '\0');
  size_t done = 0;
  while (done < content.size()) {
    const ssize_t count = ::read(file.descriptor, content.data() + done, content.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return absl::InvalidArgumentError(path + ": can't be read");
    done += static_cast<size_t>(count);
  }
  return content;
}

}  // namespace

absl::StatusOr<OpenFile> OpenRegularFile(const std::string& path) {
  // Not blocking: opening a pipe would wait for its writer.
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) {
    const std::string message = absl::StrCat(path, ": ", std::strerror(errno));
    return errno == ENOENT || errno == ENOTDIR ? absl::NotFoundError(message)
                                               : absl::InvalidArgumentError(message);
  }
  struct stat info;
  if (::fstat(descriptor, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(descriptor);
    return absl::InvalidArgumentError(path + ": not a regular file");
  }
  return OpenFile{descriptor, static_cast<size_t>(info.st_size)};
}

absl::StatusOr<std::string> ReadFile(const std::string& path, size_t limit_bytes) {
  GLIMPSE_ASSIGN_OR_RETURN(const OpenFile file, OpenRegularFile(path));
  absl::StatusOr<std::string> content = ReadOpenFile(file, path, limit_bytes);
  ::close(file.descriptor);
  return content;
}

}  // namespace glimpse
