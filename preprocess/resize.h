// The bicubic filter of the model's own preprocessing, bit for bit.
#ifndef GLIMPSE_PREPROCESS_RESIZE_H_
#define GLIMPSE_PREPROCESS_RESIZE_H_

#include "preprocess/image_decoder.h"

namespace glimpse {

// Equal in every byte to what Pillow 13's Image.resize((width, height), Image.BICUBIC) makes of an
// RGB image: the filter widens with the shrinking (antialiasing), weights in fixed point with 22
// fraction bits, 8 bits between the two passes, a direction whose size stays is not filtered. Rows
// are filtered first, except where the height shrinks by more than twice as many pixels as the
// width; Pillow up to 12 never makes that exception and may differ there in the last bit.
//
// All four sizes must be at least 1 and at most 2^24. Thread-safe. Takes memory for the picture
// between the passes: width x image.height or image.width x height, 3 bytes a pixel.
RgbImage ResizeBicubic(const RgbImage& image, int width, int height);

}  // namespace glimpse

#endif  // GLIMPSE_PREPROCESS_RESIZE_H_
