#include "preprocess/exif.h"

#include <string_view>

#include "preprocess/image_walk.h"

namespace glimpse {
namespace {

constexpr std::string_view kPrefix("Exif\0\0", 6);
constexpr size_t kEntryBytes = 12;  // tag, type, count, value or offset
constexpr uint32_t kOrientationTag = 0x0112;
constexpr uint32_t kTypeShort = 3;

}  // namespace

int ExifOrientation(absl::Span<const uint8_t> exif) {
  if (HasText(exif, 0, kPrefix)) exif.remove_prefix(kPrefix.size());
  const bool little = HasText(exif, 0, std::string_view("II*\0", 4));
  const bool big = HasText(exif, 0, std::string_view("MM\0*", 4));
  if ((!little && !big) || exif.size() < 8) return 1;
  const auto read16 = [&](size_t at) {
    return little ? LittleEndian16(exif, at) : BigEndian16(exif, at);
  };
  const auto read32 = [&](size_t at) {
    return little ? LittleEndian32(exif, at) : BigEndian32(exif, at);
  };

  const size_t directory = read32(4);
  if (directory > exif.size() || exif.size() - directory < 2) return 1;
  const size_t entries = read16(directory);
  for (size_t i = 0; i < entries; ++i) {
    const size_t entry = directory + 2 + i * kEntryBytes;
    if (entry + kEntryBytes > exif.size()) return 1;
    if (read16(entry) != kOrientationTag) continue;
    const uint32_t value = read16(entry + 8);
    const bool valid = read16(entry + 2) == kTypeShort && read32(entry + 4) == 1;
    return valid && value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

}  // namespace glimpse
