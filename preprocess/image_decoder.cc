#include "preprocess/image_decoder.h"

#include <array>
#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>
#include <utility>

#include "preprocess/check.h"
#include "preprocess/status_macros.h"

namespace glimpse {
namespace {

// Our pool's threads are all the parallelism there is, and OpenCV's texts belong to nobody's log.
void SetUpOpenCvOnce() {
  static const bool done = [] {
    cv::setNumThreads(1);
    cv::redirectError([](int, const char*, const char*, const char*, int, void*) { return 0; });
    return true;
  }();
  static_cast<void>(done);
}

void AppendLittleEndian32(std::vector<uint8_t>& out, size_t value) {
  for (int shift = 0; shift < 32; shift += 8) out.push_back(static_cast<uint8_t>(value >> shift));
}

// A file of nothing but what the decoder needs.
std::vector<uint8_t> EssentialFile(const ImageHeader& header) {
  size_t size = 0;
  for (const auto& part : header.parts) size += part.size();
  std::vector<uint8_t> file;
  file.reserve(size + 12);
  if (header.format == ImageHeader::Format::kWebp) {
    file.insert(file.end(), {'R', 'I', 'F', 'F'});
    AppendLittleEndian32(file, size + 4);
    file.insert(file.end(), {'W', 'E', 'B', 'P'});
  }
  for (const auto& part : header.parts) file.insert(file.end(), part.begin(), part.end());
  if (header.format == ImageHeader::Format::kWebp && file[15] == 'L') {
    // The hint that alpha is used; without it the decoder needs no second, four-channel picture.
    file[12 + 8 + 4] &= 0xEF;
  }
  return file;
}

// Turns `pixels` as EXIF's orientation says. Values above 4 lie on their side.
void TurnUpright(int orientation, RgbImage& image) {
  if (orientation > 4) {
    RgbImage turned{image.height, image.width, std::vector<uint8_t>(image.pixels.size())};
    cv::Mat target(turned.height, turned.width, CV_8UC3, turned.pixels.data());
    cv::transpose(cv::Mat(image.height, image.width, CV_8UC3, image.pixels.data()), target);
    GLIMPSE_CHECK(target.data == turned.pixels.data(), "transpose moved its target");
    image = std::move(turned);
  }
  // What is left to do, as cv::flip names it: 0 upside down, 1 left to right, -1 both.
  constexpr int kNothing = 2;
  constexpr std::array<int, 9> kFlips = {kNothing, kNothing, 1, -1, 0, kNothing, 1, -1, 0};
  const int flip = kFlips[orientation];
  if (flip == kNothing) return;
  cv::Mat pixels(image.height, image.width, CV_8UC3, image.pixels.data());
  cv::flip(pixels, pixels, flip);
}

void SwapRedAndBlue(std::vector<uint8_t>& pixels) {
  for (size_t i = 0; i + 2 < pixels.size(); i += 3) std::swap(pixels[i], pixels[i + 2]);
}

absl::StatusOr<RgbImage> Decode(const ImageHeader& header) {
  std::vector<uint8_t> file = EssentialFile(header);
  RgbImage image{header.width, header.height,
                 std::vector<uint8_t>(size_t{3} * header.width * header.height)};
  cv::Mat target(image.height, image.width, CV_8UC3, image.pixels.data());
  try {
    const cv::Mat input(1, static_cast<int>(file.size()), CV_8UC1, file.data());
    cv::imdecode(input, cv::IMREAD_COLOR | cv::IMREAD_IGNORE_ORIENTATION, &target);
  } catch (const cv::Exception&) {
    return ImageCorrupt();
  }
  // Released when it failed, and elsewhere if the decoder saw another size than we did.
  if (target.data != image.pixels.data()) return ImageCorrupt();
  return image;
}

}  // namespace

absl::StatusOr<RgbImage> DecodeImage(absl::Span<const uint8_t> bytes, const ImageLimits& limits) {
  SetUpOpenCvOnce();
  GLIMPSE_ASSIGN_OR_RETURN(const ImageHeader header, ReadImageHeader(bytes, limits));
  GLIMPSE_ASSIGN_OR_RETURN(RgbImage image, Decode(header));
  SwapRedAndBlue(image.pixels);
  TurnUpright(header.orientation, image);
  return image;
}

}  // namespace glimpse
