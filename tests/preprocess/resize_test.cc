#include "preprocess/resize.h"

#include <zlib.h>

#include <catch2/catch.hpp>
#include <cstdint>
#include <vector>

namespace glimpse {
namespace {

struct GoldenCase {
  int width, height, new_width, new_height;
  uint32_t checksum;
};

constexpr GoldenCase kGolden[] = {
#include "tests/golden/resize.inc"
};

RgbImage Filled(int width, int height, uint8_t value) {
  return {width, height, std::vector<uint8_t>(size_t{3} * width * height, value)};
}

// The same as formula_picture in tests/golden/resize.py.
RgbImage FormulaPicture(int width, int height) {
  RgbImage image = Filled(width, height, 0);
  const size_t size = image.pixels.size();
  for (size_t i = 0; i < size; ++i) {
    const uint32_t value = static_cast<uint32_t>(i * 2654435761u) >> 24;
    image.pixels[i] = static_cast<uint8_t>(i >= size - size / 3 ? (value >> 7) * 255 : value);
  }
  return image;
}

TEST_CASE("the bicubic filter gives Pillow's bytes") {
  for (const GoldenCase& golden : kGolden) {
    INFO(golden.width << "x" << golden.height << " to " << golden.new_width << "x"
                      << golden.new_height);
    const RgbImage resized = ResizeBicubic(FormulaPicture(golden.width, golden.height),
                                           golden.new_width, golden.new_height);
    CHECK(resized.width == golden.new_width);
    CHECK(resized.height == golden.new_height);
    REQUIRE(resized.pixels.size() == size_t{3} * golden.new_width * golden.new_height);
    CHECK(crc32(0, resized.pixels.data(), static_cast<uInt>(resized.pixels.size())) ==
          golden.checksum);
  }
}

TEST_CASE("an equal size copies the picture") {
  const RgbImage image = FormulaPicture(19, 23);
  CHECK(ResizeBicubic(image, 19, 23).pixels == image.pixels);
}

TEST_CASE("a single colour stays that colour") {
  for (int value : {0, 1, 127, 255}) {
    const RgbImage image = Filled(37, 41, static_cast<uint8_t>(value));
    for (const auto& [width, height] : {std::pair(5, 90), {90, 5}, {37, 3}, {3, 41}, {111, 112}}) {
      CHECK(ResizeBicubic(image, width, height).pixels == Filled(width, height, value).pixels);
    }
  }
}

TEST_CASE("an edge overshoots and is clipped to a byte") {
  RgbImage image = Filled(4, 1, 50);
  for (int i = 6; i < 12; ++i) image.pixels[i] = 200;
  // Pillow's values for the row 50 50 200 200 at twice the width.
  const int expected[] = {50, 47, 40, 80, 170, 210, 203, 200};
  const RgbImage wide = ResizeBicubic(image, 8, 1);
  for (int x = 0; x < 8; ++x) {
    for (int c = 0; c < 3; ++c) CHECK(int(wide.pixels[3 * x + c]) == expected[x]);
  }
}

}  // namespace
}  // namespace glimpse
