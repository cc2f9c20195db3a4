// The one thing we want from EXIF: which way up the picture is.
#ifndef GLIMPSE_PREPROCESS_EXIF_H_
#define GLIMPSE_PREPROCESS_EXIF_H_

#include <cstdint>

#include "absl/types/span.h"

namespace glimpse {

// The orientation (1..8) in a TIFF structure as EXIF uses it, with or without the "Exif\0\0" that
// JPEG puts before it. 1, which means "as stored", where it is absent or anything is malformed: a
// broken note about a picture is no reason to refuse the picture.
int ExifOrientation(absl::Span<const uint8_t> exif);

}  // namespace glimpse

#endif  // GLIMPSE_PREPROCESS_EXIF_H_
