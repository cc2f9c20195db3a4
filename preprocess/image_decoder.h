// Bytes of a picture file -> pixels.
#ifndef GLIMPSE_PREPROCESS_IMAGE_DECODER_H_
#define GLIMPSE_PREPROCESS_IMAGE_DECODER_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "preprocess/image_header.h"

namespace glimpse {

struct RgbImage {
  int width = 0;
  int height = 0;
  std::vector<uint8_t> pixels;  // [height, width, 3] R, G, B; rows top-down, no padding
};

// Checks the header (ReadImageHeader) and only then decodes, turns the picture upright and brings
// it to 8-bit RGB: grey is repeated, palettes are looked up, 16-bit samples keep their high byte,
// CMYK is converted, alpha is dropped without blending. The same as Pillow's
// ImageOps.exif_transpose(image).convert("RGB"), but for a few levels in JPEG and CMYK.
//
// INVALID_ARGUMENT with a reason for ImageErrorReason. A JPEG whose compressed data is damaged
// inside and still ends properly gives a picture with wrong areas, as it does in browsers.
//
// Thread-safe; sets OpenCV to one thread for the whole process. About damaged data the codecs'
// libraries may write a line of their own to stderr. Memory: the pixels (3 bytes each) and a copy
// of the file, and inside the decoder up to 4 bytes for each of max_pixels, for a lossless WebP or
// a JPEG of several scans (a progressive one, as a rule), which is refused where it would be more.
// Turning a picture on its side takes a second copy of the pixels.
absl::StatusOr<RgbImage> DecodeImage(absl::Span<const uint8_t> bytes, const ImageLimits& limits);

}  // namespace glimpse

#endif  // GLIMPSE_PREPROCESS_IMAGE_DECODER_H_
