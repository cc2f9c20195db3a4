#include "bench/load/picture.h"

#include <zlib.h>

#include <cstdint>

#include "preprocess/check.h"

namespace glimpse::bench {
namespace {

std::string BigEndian(uint32_t value) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(static_cast<char>(value >> shift));
  return bytes;
}

std::string Chunk(const char* type, const std::string& data) {
  const std::string body = type + data;
  const auto* bytes = reinterpret_cast<const Bytef*>(body.data());
  const uLong sum = crc32(0, bytes, static_cast<uInt>(body.size()));
  return BigEndian(static_cast<uint32_t>(data.size())) + body +
         BigEndian(static_cast<uint32_t>(sum));
}

// Lines of RGB, each behind the byte that says "as it is".
std::string Pixels(int side, int number) {
  std::string pixels;
  pixels.reserve(static_cast<size_t>(side) * (3 * static_cast<size_t>(side) + 1));
  for (int y = 0; y < side; ++y) {
    pixels.push_back(0);
    for (int x = 0; x < side; ++x) {
      pixels.push_back(static_cast<char>(x + 31 * number));
      pixels.push_back(static_cast<char>(y ^ (17 * number)));
      pixels.push_back(static_cast<char>((x * y) >> (4 + number % 4)));
    }
  }
  return pixels;
}

std::string Compress(const std::string& data) {
  uLongf size = compressBound(static_cast<uLong>(data.size()));
  std::string packed(size, '\0');
  const int result = compress2(reinterpret_cast<Bytef*>(packed.data()), &size,
                               reinterpret_cast<const Bytef*>(data.data()),
                               static_cast<uLong>(data.size()), Z_BEST_SPEED);
  GLIMPSE_CHECK(result == Z_OK, "zlib has room for what it made");
  packed.resize(size);
  return packed;
}

}  // namespace

std::string MakePng(int side, int number) {
  const std::string eight_bit_rgb("\x08\x02\x00\x00\x00", 5);
  const std::string size = BigEndian(static_cast<uint32_t>(side));
  return "\x89PNG\r\n\x1a\n" + Chunk("IHDR", size + size + eight_bit_rgb) +
         Chunk("IDAT", Compress(Pixels(side, number))) + Chunk("IEND", "");
}

}  // namespace glimpse::bench
