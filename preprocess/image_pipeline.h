// Bytes of a picture file -> the square picture that the model takes.
#ifndef GLIMPSE_PREPROCESS_IMAGE_PIPELINE_H_
#define GLIMPSE_PREPROCESS_IMAGE_PIPELINE_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "preprocess/image_decoder.h"
#include "preprocess/image_header.h"

namespace glimpse {

// Immutable and thread-safe. Takes CPU time in proportion to the picture: about 0.1 s for 12
// megapixels, so it belongs on a worker thread.
class ImagePipeline {
 public:
  // image_size: the side of the model's input in pixels, from the checkpoint; at least 1.
  ImagePipeline(int image_size, const ImageLimits& limits);

  // [image_size, image_size] RGB, equal to the model's own preprocessing before normalisation: the
  // picture is stretched, not cropped. Errors are DecodeImage's.
  absl::StatusOr<RgbImage> Process(absl::Span<const uint8_t> bytes) const;

  // The two halves of Process, for a caller that times them.
  absl::StatusOr<RgbImage> Decode(absl::Span<const uint8_t> bytes) const;
  RgbImage Resize(const RgbImage& image) const;

 private:
  const int image_size_;
  const ImageLimits limits_;
};

}  // namespace glimpse

#endif  // GLIMPSE_PREPROCESS_IMAGE_PIPELINE_H_
