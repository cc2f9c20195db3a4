// What a picture's bytes say about themselves, read before any decoder sees them.
//
// A picture comes from anyone, so the walk below is our own: it checks every length against what is
// there, allocates nothing in proportion to what the file claims, and is linear in the file. It
// refuses what is too large, what is none of JPEG, PNG and WebP, and what is cut or broken as far
// as the file's structure shows it.
//
// All functions are thread-safe and keep no state.
#ifndef GLIMPSE_PREPROCESS_IMAGE_HEADER_H_
#define GLIMPSE_PREPROCESS_IMAGE_HEADER_H_

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace glimpse {

// Each at least 1; there is no value for "no limit".
struct ImageLimits {
  int64_t max_bytes = 16 << 20;     // of the file
  int64_t max_pixels = 50'000'000;  // width x height; a progressive JPEG of full colour: 2/3 of it
  int max_side = 16384;             // the longer of width and height
};

struct ImageHeader {
  enum class Format { kJpeg, kPng, kWebp };

  Format format = Format::kJpeg;
  int width = 0;  // as stored, before the orientation is applied
  int height = 0;
  int orientation = 1;  // EXIF's 1..8; 1 where there is none or it is malformed

  // The pieces of the input that a decoder needs, in order. What is left out (metadata, colour
  // profiles, compressed texts, thumbnails, animation, whatever follows the picture) never reaches
  // a decoder. They point into the bytes given to ReadImageHeader.
  std::vector<absl::Span<const uint8_t>> parts;
};

// INVALID_ARGUMENT with one of the reasons below.
absl::StatusOr<ImageHeader> ReadImageHeader(absl::Span<const uint8_t> bytes,
                                            const ImageLimits& limits);

// The machine-readable reason of an error of the image functions: "IMAGE_TOO_LARGE" (the message
// names the limit), "IMAGE_UNSUPPORTED" or "IMAGE_CORRUPT". Empty for any other status.
std::string_view ImageErrorReason(const absl::Status& status);

// The three errors. Messages are fixed texts of ours, with sizes and limits at most.
absl::Status ImageTooLarge(std::string_view message);
absl::Status ImageUnsupported(std::string_view message);
absl::Status ImageCorrupt();

}  // namespace glimpse

#endif  // GLIMPSE_PREPROCESS_IMAGE_HEADER_H_
