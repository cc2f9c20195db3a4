// Hand-made picture files for the tests: as much of each format as a header check looks at.
#ifndef GLIMPSE_TESTS_PREPROCESS_IMAGE_BYTES_H_
#define GLIMPSE_TESTS_PREPROCESS_IMAGE_BYTES_H_

#include <zlib.h>

#include <cstdint>
#include <initializer_list>
#include <string>

#include "absl/types/span.h"

namespace glimpse {

// A std::string, for its operators.
inline absl::Span<const uint8_t> AsBytes(const std::string& file) {
  return {reinterpret_cast<const uint8_t*>(file.data()), file.size()};
}

template <size_t size>
std::string AsString(const uint8_t (&file)[size]) {
  return std::string(file, file + size);
}

inline std::string Raw(std::initializer_list<int> bytes) {
  return std::string(bytes.begin(), bytes.end());
}

inline std::string Big(uint32_t value, int bytes) {
  std::string out;
  while (bytes-- > 0) out.push_back(static_cast<char>(value >> (8 * bytes)));
  return out;
}

inline std::string Little(uint32_t value, int bytes) {
  std::string out = Big(value, bytes);
  return std::string(out.rbegin(), out.rend());
}

// ---- JPEG

inline std::string JpegSegment(int marker, const std::string& payload) {
  return Raw({0xFF, marker}) + Big(static_cast<uint32_t>(payload.size() + 2), 2) + payload;
}

inline std::string JpegFrame(int width, int height, int components = 3, int precision = 8,
                             int marker = 0xC0) {
  std::string payload = Big(precision, 1) + Big(height, 2) + Big(width, 2) + Big(components, 1);
  for (int i = 0; i < components; ++i) payload += Raw({i + 1, 0x11, 0});
  return JpegSegment(marker, payload);
}

inline std::string JpegScan(size_t data_bytes, int components = 1) {
  std::string payload = Raw({components});
  for (int i = 0; i < components; ++i) payload += Raw({i + 1, 0});
  return JpegSegment(0xDA, payload + Raw({0, 63, 0})) + std::string(data_bytes, '\x55');
}

// SOI, what is given, EOI.
inline std::string Jpeg(const std::string& inside) {
  return Raw({0xFF, 0xD8}) + inside + Raw({0xFF, 0xD9});
}

// An APP1 segment whose EXIF has the orientation as its only entry.
inline std::string ExifTiff(int orientation, bool little_endian = false) {
  const auto number = [&](uint32_t value, int bytes) {
    return little_endian ? Little(value, bytes) : Big(value, bytes);
  };
  return (little_endian ? "II" : "MM") + number(42, 2) + number(8, 4) + number(1, 2) +
         number(0x0112, 2) + number(3, 2) + number(1, 4) + number(orientation, 2) + number(0, 2) +
         number(0, 4);
}

inline std::string ExifSegment(const std::string& tiff) {
  return JpegSegment(0xE1, std::string("Exif\0\0", 6) + tiff);
}

// The file with `segment` right behind its SOI.
inline std::string WithSegment(const std::string& jpeg, const std::string& segment) {
  return jpeg.substr(0, 2) + segment + jpeg.substr(2);
}

// ---- PNG

inline std::string PngChunk(const std::string& type, const std::string& data) {
  const std::string body = type + data;
  const uLong crc = crc32(0, AsBytes(body).data(), static_cast<uInt>(body.size()));
  return Big(static_cast<uint32_t>(data.size()), 4) + body + Big(static_cast<uint32_t>(crc), 4);
}

inline std::string PngHeader(uint32_t width, uint32_t height, int depth = 8, int colour_type = 2) {
  return PngChunk("IHDR", Big(width, 4) + Big(height, 4) + Raw({depth, colour_type, 0, 0, 0}));
}

// The signature, what is given, IEND.
inline std::string Png(const std::string& chunks) {
  return "\x89PNG\r\n\x1a\n" + chunks + PngChunk("IEND", "");
}

// ---- WebP

inline std::string WebpChunk(const std::string& type, const std::string& data) {
  const std::string padding(data.size() % 2, '\0');
  return type + Little(static_cast<uint32_t>(data.size()), 4) + data + padding;
}

inline std::string WebpCanvas(int width, int height, int flags = 0) {
  return WebpChunk("VP8X", Raw({flags, 0, 0, 0}) + Little(width - 1, 3) + Little(height - 1, 3));
}

inline std::string WebpLossless(int width, int height) {
  return WebpChunk("VP8L", Raw({0x2f}) + Little((width - 1) | (height - 1) << 14, 4) + "data");
}

inline std::string WebpLossy(int width, int height) {
  return WebpChunk(
      "VP8 ", Raw({0x10, 0, 0, 0x9d, 0x01, 0x2a}) + Little(width, 2) + Little(height, 2) + "data");
}

inline std::string Webp(const std::string& chunks) {
  return "RIFF" + Little(static_cast<uint32_t>(chunks.size() + 4), 4) + "WEBP" + chunks;
}

}  // namespace glimpse

#endif  // GLIMPSE_TESTS_PREPROCESS_IMAGE_BYTES_H_
