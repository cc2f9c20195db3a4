// The three formats' walks behind ReadImageHeader, and what they share. Private to
// image_header*.cc.
#ifndef GLIMPSE_PREPROCESS_IMAGE_WALK_H_
#define GLIMPSE_PREPROCESS_IMAGE_WALK_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "preprocess/image_header.h"

namespace glimpse {

using Bytes = absl::Span<const uint8_t>;

// A file of segments without content costs time for each; no encoder writes that many.
constexpr int kMaxPieces = 20'000;

// Each expects the format's signature to be there already, and `bytes` within the limit of bytes.
absl::StatusOr<ImageHeader> WalkJpeg(Bytes bytes, const ImageLimits& limits);
absl::StatusOr<ImageHeader> WalkPng(Bytes bytes, const ImageLimits& limits);
absl::StatusOr<ImageHeader> WalkWebp(Bytes bytes, const ImageLimits& limits);

// IMAGE_CORRUPT unless both sides are at least 1, IMAGE_TOO_LARGE past a limit.
absl::Status CheckImageSize(int64_t width, int64_t height, const ImageLimits& limits);

// IMAGE_TOO_LARGE past kMaxPieces.
absl::Status CheckPieces(int pieces);

// Appends bytes[begin, end) to header.parts, joined with the last part where they touch.
void KeepPart(ImageHeader& header, Bytes bytes, size_t begin, size_t end);

// Readers of unsigned integers. The caller has checked that the bytes are there.
inline uint32_t BigEndian16(Bytes bytes, size_t at) { return bytes[at] << 8 | bytes[at + 1]; }
inline uint32_t BigEndian32(Bytes bytes, size_t at) {
  return BigEndian16(bytes, at) << 16 | BigEndian16(bytes, at + 2);
}
inline uint32_t LittleEndian16(Bytes bytes, size_t at) { return bytes[at] | bytes[at + 1] << 8; }
inline uint32_t LittleEndian24(Bytes bytes, size_t at) {
  return LittleEndian16(bytes, at) | uint32_t{bytes[at + 2]} << 16;
}
inline uint32_t LittleEndian32(Bytes bytes, size_t at) {
  return LittleEndian16(bytes, at) | LittleEndian16(bytes, at + 2) << 16;
}

// Whether `text` stands at `at`; false where the bytes end before.
inline bool HasText(Bytes bytes, size_t at, std::string_view text) {
  return at <= bytes.size() && text.size() <= bytes.size() - at &&
         std::memcmp(bytes.data() + at, text.data(), text.size()) == 0;
}

}  // namespace glimpse

#endif  // GLIMPSE_PREPROCESS_IMAGE_WALK_H_
