#include "preprocess/image_pipeline.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "tests/golden/images.inc"
#include "tests/preprocess/image_bytes.h"

namespace glimpse {
namespace {

struct Colour {
  int red, green, blue;
};

// The quarters of the golden pictures.
constexpr Colour kRed{220, 20, 30}, kGreen{20, 200, 40}, kBlue{30, 40, 210}, kWhite{250, 250, 250};

RgbImage Decoded(const std::string& file) {
  const absl::StatusOr<RgbImage> image = DecodeImage(AsBytes(file), {});
  REQUIRE(image.ok());
  REQUIRE(image->pixels.size() == size_t{3} * image->width * image->height);
  return *image;
}

std::string Outcome(const std::string& file, const ImageLimits& limits = {}) {
  const absl::StatusOr<RgbImage> image = DecodeImage(AsBytes(file), limits);
  return image.ok() ? "OK" : std::string(ImageErrorReason(image.status()));
}

void CheckPixel(const RgbImage& image, int x, int y, const Colour& expected, int tolerance) {
  const uint8_t* pixel = &image.pixels[3 * (size_t(y) * image.width + x)];
  INFO("pixel " << x << ", " << y << " is " << int(pixel[0]) << " " << int(pixel[1]) << " "
                << int(pixel[2]));
  CHECK(std::abs(pixel[0] - expected.red) <= tolerance);
  CHECK(std::abs(pixel[1] - expected.green) <= tolerance);
  CHECK(std::abs(pixel[2] - expected.blue) <= tolerance);
}

// Looks at the corners, row by row: top left, top right, bottom left, bottom right.
void CheckCorners(const RgbImage& image, const std::vector<Colour>& corners, int tolerance) {
  const int right = image.width - 2, bottom = image.height - 2;
  CheckPixel(image, 1, 1, corners[0], tolerance);
  CheckPixel(image, right, 1, corners[1], tolerance);
  CheckPixel(image, 1, bottom, corners[2], tolerance);
  CheckPixel(image, right, bottom, corners[3], tolerance);
}

TEST_CASE("every format decodes to RGB, row by row from the top") {
  const std::vector<Colour> corners = {kRed, kGreen, kBlue, kWhite};
  for (const std::string& file : {AsString(kPng), AsString(kPalettePng)}) {
    CheckCorners(Decoded(file), corners, 0);
  }
  for (const std::string& file :
       {AsString(kJpeg), AsString(kProgressiveJpeg), AsString(kCmykJpeg), AsString(kLossyWebp)}) {
    const RgbImage image = Decoded(file);
    CHECK(image.width == 24);
    CHECK(image.height == 16);
    CheckCorners(image, corners, 12);
  }
}

TEST_CASE("alpha is dropped, not blended") {
  const std::vector<Colour> corners = {kRed, kGreen, kBlue,
                                       kWhite};  // the left half is transparent
  CheckCorners(Decoded(AsString(kAlphaPng)), corners, 0);
  CheckCorners(Decoded(AsString(kLosslessWebp)), corners, 0);
  CheckCorners(Decoded(AsString(kAlphaWebp)), corners, 12);
}

TEST_CASE("EXIF's eight orientations are turned upright") {
  const std::vector<Colour> upright[] = {
      {kRed, kGreen, kBlue, kWhite}, {kGreen, kRed, kWhite, kBlue}, {kWhite, kBlue, kGreen, kRed},
      {kBlue, kWhite, kRed, kGreen}, {kRed, kBlue, kGreen, kWhite}, {kBlue, kRed, kWhite, kGreen},
      {kWhite, kGreen, kBlue, kRed}, {kGreen, kWhite, kRed, kBlue}};
  for (int orientation = 1; orientation <= 8; ++orientation) {
    INFO("orientation " << orientation);
    const std::string segment = ExifSegment(ExifTiff(orientation));
    const RgbImage image = Decoded(WithSegment(AsString(kJpeg), segment));
    CHECK(image.width == (orientation > 4 ? 16 : 24));
    CHECK(image.height == (orientation > 4 ? 24 : 16));
    CheckCorners(image, upright[orientation - 1], 12);
  }
}

TEST_CASE("16-bit samples keep their high byte") {
  // Two grey pixels behind a filter byte, in a stored deflate block.
  const std::string raw = Raw({0, 0x12, 0xFF, 0xFE, 0x01});
  const uLong checksum = adler32(1, AsBytes(raw).data(), static_cast<uInt>(raw.size()));
  const std::string stream =
      Raw({0x78, 0x01, 1, 5, 0, 0xFA, 0xFF}) + raw + Big(static_cast<uint32_t>(checksum), 4);
  const RgbImage image = Decoded(Png(PngHeader(2, 1, 16, 0) + PngChunk("IDAT", stream)));
  CHECK(image.pixels == std::vector<uint8_t>{0x12, 0x12, 0x12, 0xFE, 0xFE, 0xFE});
}

TEST_CASE("compressed data that no decoder can read is corrupt") {
  CHECK(Outcome(Png(PngHeader(4, 4) + PngChunk("IDAT", "no deflate stream"))) == "IMAGE_CORRUPT");
  CHECK(Outcome(Jpeg(JpegFrame(8, 8) + JpegScan(100))) == "IMAGE_CORRUPT");  // no tables
  CHECK(Outcome(Webp(WebpLossy(4, 4))) == "IMAGE_CORRUPT");
}

TEST_CASE("the decoder refuses what the header check refuses") {
  ImageLimits limits;
  limits.max_pixels = 24 * 16 - 1;
  CHECK(Outcome(AsString(kJpeg), limits) == "IMAGE_TOO_LARGE");
  CHECK(Outcome("") == "IMAGE_UNSUPPORTED");
  CHECK(Outcome(AsString(kJpeg).substr(0, 300)) == "IMAGE_CORRUPT");
}

// One to four random changes: bytes overwritten, cut out, doubled, or the end cut off.
std::string Mutated(std::string file, std::mt19937& random) {
  const int changes = 1 + random() % 4;
  for (int i = 0; i < changes && !file.empty(); ++i) {
    const size_t at = random() % file.size(), count = 1 + random() % 8;
    switch (random() % 5) {
      case 0:
        file.erase(at, count);
        break;
      case 1:
        file.insert(at, file.substr(at, count));
        break;
      case 2:
        if (random() % 4 == 0) file.resize(at);
        break;
      default:
        file[at] = static_cast<char>(random());
    }
  }
  return file;
}

TEST_CASE("a mutated file is a picture within the limits or is refused with a reason") {
  const std::string files[] = {AsString(kJpeg),       AsString(kProgressiveJpeg),
                               AsString(kCmykJpeg),   AsString(kPng),
                               AsString(kPalettePng), AsString(kLossyWebp),
                               AsString(kAlphaWebp),  AsString(kLosslessWebp)};
  ImageLimits limits;
  limits.max_pixels = 100'000;
  std::mt19937 random(7);
  int decoded = 0, refused = 0;
  for (int i = 0; i < 4000; ++i) {
    const std::string file = Mutated(files[i % std::size(files)], random);
    const absl::StatusOr<RgbImage> image = DecodeImage(AsBytes(file), limits);
    if (image.ok()) {
      ++decoded;
      REQUIRE(int64_t{image->width} * image->height <= limits.max_pixels);
      REQUIRE(image->pixels.size() == size_t{3} * image->width * image->height);
    } else {
      ++refused;
      REQUIRE(image.status().code() == absl::StatusCode::kInvalidArgument);
      REQUIRE(!ImageErrorReason(image.status()).empty());
    }
  }
  CHECK(decoded > 100);  // both ways are really taken
  CHECK(refused > 100);
}

TEST_CASE("the pipeline gives the model's size whatever the picture's") {
  const ImagePipeline pipeline(32, {});
  const absl::StatusOr<RgbImage> image = pipeline.Process(AsBytes(AsString(kPng)));
  REQUIRE(image.ok());
  CHECK(image->width == 32);
  CHECK(image->height == 32);
  CheckCorners(*image, {kRed, kGreen, kBlue, kWhite}, 0);
}

TEST_CASE("the pipeline passes a refusal on") {
  ImageLimits limits;
  limits.max_bytes = 10;
  const absl::Status status = ImagePipeline(32, limits).Process(AsBytes(AsString(kPng))).status();
  CHECK(ImageErrorReason(status) == "IMAGE_TOO_LARGE");
}

}  // namespace
}  // namespace glimpse
