// WebP: a RIFF file of chunks "type size data", padded to even sizes. The picture is one chunk, VP8
// or VP8L; a file with VP8X before it has a canvas, which for a still picture has the picture's
// size.
#include "preprocess/exif.h"
#include "preprocess/image_walk.h"
#include "preprocess/status_macros.h"

namespace glimpse {
namespace {

constexpr size_t kRiffHeaderBytes = 12;
constexpr size_t kChunkHeaderBytes = 8;
constexpr uint8_t kAnimationFlag = 0x02;

struct Size {
  int64_t width = 0, height = 0;
};

absl::StatusOr<Size> ReadVp8(Bytes data) {
  // Frame tag (bit 0 clear for a key frame), start code, two 14-bit sizes with a scale above them.
  if (data.size() < 10 || (data[0] & 1) != 0 || !HasText(data, 3, "\x9d\x01\x2a")) {
    return ImageCorrupt();
  }
  return Size{LittleEndian16(data, 6) & 0x3fff, LittleEndian16(data, 8) & 0x3fff};
}

absl::StatusOr<Size> ReadVp8l(Bytes data) {
  // Signature, then bits: width - 1 (14), height - 1 (14), alpha hint (1), version (3).
  if (data.size() < 5 || data[0] != 0x2f || (data[4] >> 5) != 0) return ImageCorrupt();
  const uint32_t bits = LittleEndian32(data, 1);
  return Size{(bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1};
}

class WebpWalk {
 public:
  WebpWalk(Bytes bytes, const ImageLimits& limits) : bytes_(bytes), limits_(limits) {}

  absl::StatusOr<ImageHeader> Run() {
    header_.format = ImageHeader::Format::kWebp;
    const size_t riff_bytes = LittleEndian32(bytes_, 4);  // without the first 8
    if (riff_bytes > bytes_.size() - 8 || riff_bytes < kRiffHeaderBytes - 8) return ImageCorrupt();
    bytes_ = bytes_.first(riff_bytes + 8);
    size_t at = kRiffHeaderBytes;
    for (int pieces = 1; at < bytes_.size(); ++pieces) {
      GLIMPSE_RETURN_IF_ERROR(CheckPieces(pieces));
      if (bytes_.size() - at < kChunkHeaderBytes) return ImageCorrupt();
      const size_t length = LittleEndian32(bytes_, at + 4);
      const size_t padded = length + (length & 1);
      if (padded > bytes_.size() - at - kChunkHeaderBytes) return ImageCorrupt();
      GLIMPSE_RETURN_IF_ERROR(Take(at, bytes_.subspan(at + kChunkHeaderBytes, length)));
      at += kChunkHeaderBytes + padded;
    }
    if (header_.width == 0) return ImageCorrupt();
    return std::move(header_);
  }

 private:
  absl::Status Take(size_t at, Bytes data) {
    if (HasText(bytes_, at, "VP8X")) return ReadCanvas(at, data);
    if (HasText(bytes_, at, "VP8 ")) return TakePicture(at, data, ReadVp8(data));
    if (HasText(bytes_, at, "VP8L")) return TakePicture(at, data, ReadVp8l(data));
    if (HasText(bytes_, at, "EXIF")) header_.orientation = ExifOrientation(data);
    return absl::OkStatus();
  }

  absl::Status ReadCanvas(size_t at, Bytes data) {
    if (at != kRiffHeaderBytes || data.size() < 10) return ImageCorrupt();
    canvas_ = {LittleEndian24(data, 4) + int64_t{1}, LittleEndian24(data, 7) + int64_t{1}};
    GLIMPSE_RETURN_IF_ERROR(CheckImageSize(canvas_.width, canvas_.height, limits_));
    if ((data[0] & kAnimationFlag) != 0) return ImageUnsupported("animated WebP is not supported");
    return absl::OkStatus();
  }

  absl::Status TakePicture(size_t at, Bytes data, const absl::StatusOr<Size>& size) {
    GLIMPSE_RETURN_IF_ERROR(size.status());
    if (header_.width > 0) return ImageCorrupt();  // a second picture
    GLIMPSE_RETURN_IF_ERROR(CheckImageSize(size->width, size->height, limits_));
    const bool fits_canvas = size->width == canvas_.width && size->height == canvas_.height;
    if (canvas_.width > 0 && !fits_canvas) return ImageCorrupt();
    header_.width = static_cast<int>(size->width);
    header_.height = static_cast<int>(size->height);
    const size_t end = at + kChunkHeaderBytes + data.size();
    KeepPart(header_, bytes_, at, end + (data.size() & 1));
    return absl::OkStatus();
  }

  Bytes bytes_;
  const ImageLimits limits_;
  ImageHeader header_;
  Size canvas_;  // 0 x 0 where there is none
};

}  // namespace

absl::StatusOr<ImageHeader> WalkWebp(Bytes bytes, const ImageLimits& limits) {
  return WebpWalk(bytes, limits).Run();
}

}  // namespace glimpse
