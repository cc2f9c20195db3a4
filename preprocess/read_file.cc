#include "preprocess/read_file.h"

#include <algorithm>
#include <fstream>

#include "absl/strings/str_cat.h"

namespace glimpse {

absl::StatusOr<std::string> ReadFile(const std::string& path, size_t limit_bytes) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat(path, ": can't be opened"));
  constexpr size_t kChunk = size_t{1} << 20;
  std::string content;
  // Grows by chunks: the size that the file system names is wrong for pipes and devices.
  while (file && content.size() <= limit_bytes) {
    const size_t had = content.size();
    content.resize(had + std::min(kChunk, limit_bytes + 1 - had));
    file.read(content.data() + had, static_cast<std::streamsize>(content.size() - had));
    content.resize(had + static_cast<size_t>(file.gcount()));
  }
  if (content.size() > limit_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": larger than the limit of ", limit_bytes, " bytes"));
  }
  if (file.bad() || !file.eof()) return absl::InvalidArgumentError(path + ": can't be read");
  return content;
}

}  // namespace glimpse
