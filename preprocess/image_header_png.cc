// PNG (ISO 15948): an eight-byte signature, then chunks "length type data CRC" from IHDR to IEND.
#include <zlib.h>

#include "preprocess/exif.h"
#include "preprocess/image_walk.h"
#include "preprocess/status_macros.h"

namespace glimpse {
namespace {

constexpr size_t kSignatureBytes = 8;
constexpr size_t kAroundData = 12;  // length, type and CRC
constexpr int kPalette = 3;         // colour type
constexpr int64_t kMaxDeflateRatio = 1032;

struct Chunk {
  size_t begin, end;  // with everything around the data
  Bytes type_and_data;
  Bytes data;
};

absl::StatusOr<Chunk> ReadChunk(Bytes bytes, size_t at) {
  if (bytes.size() - at < kAroundData) return ImageCorrupt();
  const size_t length = BigEndian32(bytes, at);
  if (length > bytes.size() - at - kAroundData) return ImageCorrupt();
  const Chunk chunk = {at, at + length + kAroundData, bytes.subspan(at + 4, length + 4),
                       bytes.subspan(at + 8, length)};
  const uLong crc = crc32(0, chunk.type_and_data.data(), static_cast<uInt>(length + 4));
  if (crc != BigEndian32(bytes, at + 8 + length)) return ImageCorrupt();
  return chunk;
}

int Channels(int colour_type) {
  switch (colour_type) {
    case 0:  // grey
    case kPalette:
      return 1;
    case 2:  // RGB
      return 3;
    case 4:  // grey and alpha
      return 2;
    case 6:  // RGB and alpha
      return 4;
    default:
      return 0;
  }
}

bool IsValidDepth(int colour_type, int depth) {
  const bool low = depth == 1 || depth == 2 || depth == 4;
  if (colour_type == 0) return low || depth == 8 || depth == 16;
  if (colour_type == kPalette) return low || depth == 8;
  return depth == 8 || depth == 16;
}

class PngWalk {
 public:
  PngWalk(Bytes bytes, const ImageLimits& limits) : bytes_(bytes), limits_(limits) {}

  absl::StatusOr<ImageHeader> Run() {
    header_.format = ImageHeader::Format::kPng;
    KeepPart(header_, bytes_, 0, kSignatureBytes);
    size_t at = kSignatureBytes;
    for (int pieces = 1; !has_end_; ++pieces) {
      GLIMPSE_RETURN_IF_ERROR(CheckPieces(pieces));
      GLIMPSE_ASSIGN_OR_RETURN(const Chunk chunk, ReadChunk(bytes_, at));
      GLIMPSE_RETURN_IF_ERROR(Take(chunk));
      at = chunk.end;
    }
    // No deflate stream unpacks to more than that many times its size, so this one can't be whole.
    if (data_bytes_ * kMaxDeflateRatio < raw_bytes_) return ImageCorrupt();
    return std::move(header_);
  }

 private:
  absl::Status Take(const Chunk& chunk) {
    const auto is = [&](std::string_view type) { return HasText(chunk.type_and_data, 0, type); };
    if (header_.width == 0) {
      GLIMPSE_RETURN_IF_ERROR(is("IHDR") ? ReadHeader(chunk.data) : ImageCorrupt());
    } else if (is("IDAT")) {
      if (data_ended_ || (colour_type_ == kPalette && !has_palette_)) return ImageCorrupt();
      data_bytes_ += static_cast<int64_t>(chunk.data.size());
    } else if (is("PLTE")) {
      const size_t size = chunk.data.size();
      if (has_palette_ || data_bytes_ > 0 || size == 0 || size % 3 != 0 || size > 3 * 256) {
        return ImageCorrupt();
      }
      has_palette_ = true;
    } else if (is("IEND")) {
      if (data_bytes_ == 0) return ImageCorrupt();
      has_end_ = true;
    } else {
      return TakeAncillary(chunk);
    }
    KeepPart(header_, bytes_, chunk.begin, chunk.end);
    return absl::OkStatus();
  }

  // Left out of what the decoder gets, which therefore never unpacks a text or a colour profile.
  absl::Status TakeAncillary(const Chunk& chunk) {
    const bool critical = (chunk.type_and_data[0] & 0x20) == 0;
    if (critical) return ImageCorrupt();      // the standard has no other critical chunk
    if (data_bytes_ > 0) data_ended_ = true;  // the IDAT chunks follow each other
    if (HasText(chunk.type_and_data, 0, "eXIf")) header_.orientation = ExifOrientation(chunk.data);
    return absl::OkStatus();
  }

  absl::Status ReadHeader(Bytes data) {
    if (data.size() != 13) return ImageCorrupt();
    const int64_t width = BigEndian32(data, 0), height = BigEndian32(data, 4);
    const int depth = data[8], compression = data[10], filter = data[11], interlace = data[12];
    colour_type_ = data[9];
    const int channels = Channels(colour_type_);
    if (channels == 0 || !IsValidDepth(colour_type_, depth) || compression != 0 || filter != 0 ||
        interlace > 1) {
      return ImageCorrupt();
    }
    GLIMPSE_RETURN_IF_ERROR(CheckImageSize(width, height, limits_));
    header_.width = static_cast<int>(width);
    header_.height = static_cast<int>(height);
    raw_bytes_ = width * height * channels * depth / 8;
    return absl::OkStatus();
  }

  const Bytes bytes_;
  const ImageLimits limits_;
  ImageHeader header_;
  int colour_type_ = 0;
  bool has_palette_ = false, data_ended_ = false, has_end_ = false;
  int64_t raw_bytes_ = 0;   // of the unpacked picture, at least
  int64_t data_bytes_ = 0;  // in the IDAT chunks
};

}  // namespace

absl::StatusOr<ImageHeader> WalkPng(Bytes bytes, const ImageLimits& limits) {
  return PngWalk(bytes, limits).Run();
}

}  // namespace glimpse
