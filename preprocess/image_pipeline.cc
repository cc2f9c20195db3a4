#include "preprocess/image_pipeline.h"

#include "preprocess/check.h"
#include "preprocess/resize.h"
#include "preprocess/status_macros.h"

namespace glimpse {

ImagePipeline::ImagePipeline(int image_size, const ImageLimits& limits)
    : image_size_(image_size), limits_(limits) {
  GLIMPSE_CHECK(image_size >= 1, "the model's image size must be positive");
  GLIMPSE_CHECK(limits.max_bytes >= 1 && limits.max_pixels >= 1 && limits.max_side >= 1,
                "image limits must be positive");
}

absl::StatusOr<RgbImage> ImagePipeline::Process(absl::Span<const uint8_t> bytes) const {
  GLIMPSE_ASSIGN_OR_RETURN(const RgbImage image, Decode(bytes));
  return Resize(image);
}

absl::StatusOr<RgbImage> ImagePipeline::Decode(absl::Span<const uint8_t> bytes) const {
  return DecodeImage(bytes, limits_);
}

RgbImage ImagePipeline::Resize(const RgbImage& image) const {
  return ResizeBicubic(image, image_size_, image_size_);
}

}  // namespace glimpse
