// JPEG (ITU-T T.81): segments "FF marker length payload" up to EOI; after each SOS segment the
// scan's entropy-coded bytes run until an FF that is followed neither by 00 (a stuffed FF) nor by
// RSTn.
#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "preprocess/exif.h"
#include "preprocess/image_walk.h"
#include "preprocess/status_macros.h"

namespace glimpse {
namespace {

constexpr uint8_t kSof0 = 0xC0, kSof2 = 0xC2, kSof15 = 0xCF;
constexpr uint8_t kDht = 0xC4, kJpg = 0xC8, kDac = 0xCC;
constexpr uint8_t kRst0 = 0xD0, kRst7 = 0xD7, kSoi = 0xD8, kEoi = 0xD9;
constexpr uint8_t kSos = 0xDA, kDqt = 0xDB, kDri = 0xDD;
constexpr uint8_t kApp0 = 0xE0, kApp1 = 0xE1, kApp14 = 0xEE, kTem = 0x01;

// A scan may take a handful of bytes and still costs a walk over the whole picture. Encoders write
// about ten; a 50-megapixel picture may have 20, a small one 100.
constexpr int64_t kMaxScans = 100;
constexpr int64_t kMaxScannedPixels = 1'000'000'000;

// A picture of several scans is collected as coefficients, 2 bytes each, before it becomes pixels.
// It may take as much of that as a lossless WebP of max_pixels takes: enough for every picture of
// halved colour (4:2:0, 3 bytes a pixel) and for full colour (6 bytes) up to 2/3 of max_pixels.
constexpr int64_t kMaxCoefficientBytesPerPixel = 4;
constexpr int64_t kBlockBytes = 64 * 2;

class JpegWalk {
 public:
  JpegWalk(Bytes bytes, const ImageLimits& limits) : bytes_(bytes), limits_(limits) {}

  absl::StatusOr<ImageHeader> Run() {
    header_.format = ImageHeader::Format::kJpeg;
    KeepPart(header_, bytes_, 0, 2);  // SOI
    at_ = 2;
    bool ended = false;
    for (int pieces = 1; !ended; ++pieces) {
      GLIMPSE_RETURN_IF_ERROR(CheckPieces(pieces));
      GLIMPSE_ASSIGN_OR_RETURN(ended, ReadSegment());
    }
    if (scans_ == 0 || scan_bytes_ * 8 < min_scan_bits_) return ImageCorrupt();
    GLIMPSE_RETURN_IF_ERROR(CheckCoefficients());
    return std::move(header_);
  }

 private:
  // Reads the segment at at_ and, behind an SOS, its scan. True when it was the end of the picture.
  absl::StatusOr<bool> ReadSegment() {
    if (at_ >= bytes_.size() || bytes_[at_] != 0xFF) return ImageCorrupt();
    while (at_ < bytes_.size() && bytes_[at_] == 0xFF) ++at_;  // any number of fill bytes
    if (at_ >= bytes_.size()) return ImageCorrupt();
    const uint8_t marker = bytes_[at_++];
    if (marker == kEoi) {
      KeepPart(header_, bytes_, at_ - 2, at_);
      return true;
    }
    if (marker == kTem || (marker >= kRst0 && marker <= kRst7)) return false;  // no payload
    if (marker == 0 || marker == kSoi || bytes_.size() - at_ < 2) return ImageCorrupt();
    const size_t length = BigEndian16(bytes_, at_);  // counts itself
    if (length < 2 || length > bytes_.size() - at_) return ImageCorrupt();
    GLIMPSE_RETURN_IF_ERROR(ReadPayload(marker, bytes_.subspan(at_ + 2, length - 2)));
    if (IsKept(marker)) KeepPart(header_, bytes_, at_ - 2, at_ + length);
    at_ += length;
    if (marker == kSos) SkipScan();
    return false;
  }

  // Everything else is metadata, or of no use for a Huffman-coded picture.
  static bool IsKept(uint8_t marker) {
    return (marker >= kSof0 && marker <= kSof2) || marker == kDht || marker == kSos ||
           marker == kDqt || marker == kDri || marker == kApp0 || marker == kApp14;
  }

  absl::Status ReadPayload(uint8_t marker, Bytes payload) {
    if (marker == kSos) return CountScan(payload);
    if (marker == kApp1 && !has_exif_ && HasText(payload, 0, "Exif")) {
      has_exif_ = true;
      header_.orientation = ExifOrientation(payload);
    }
    const bool is_frame =
        marker >= kSof0 && marker <= kSof15 && marker != kDht && marker != kJpg && marker != kDac;
    return is_frame ? ReadFrame(marker, payload) : absl::OkStatus();
  }

  absl::Status ReadFrame(uint8_t marker, Bytes payload) {
    if (header_.width > 0 || payload.size() < 6) return ImageCorrupt();
    const int components = payload[5];
    if (marker > kSof2 || payload[0] != 8 || components == 2 || components > 4) {
      return ImageUnsupported(
          "JPEG is not a Huffman-coded picture of 8 bits and 1, 3 or 4 colours");
    }
    if (components < 1 || payload.size() != 6 + 3 * size_t(components)) return ImageCorrupt();
    const int64_t height = BigEndian16(payload, 1), width = BigEndian16(payload, 3);
    GLIMPSE_RETURN_IF_ERROR(CheckImageSize(width, height, limits_));
    header_.width = static_cast<int>(width);
    header_.height = static_cast<int>(height);
    components_ = components;
    progressive_ = marker == kSof2;
    return CountBlocks(payload);
  }

  // A Huffman code has at least one bit, so there is a least number of bits that a complete picture
  // takes: a file that claims many pixels and brings next to nothing is refused before memory for
  // them is taken. A block has one code for DC and, if not progressive, one or more for AC.
  absl::Status CountBlocks(Bytes payload) {
    int max_h = 0, max_v = 0;
    for (size_t at = 7; at < payload.size(); at += 3) {
      const int h = payload[at] >> 4, v = payload[at] & 15;
      if (h < 1 || h > 4 || v < 1 || v > 4) return ImageCorrupt();
      max_h = std::max(max_h, h);
      max_v = std::max(max_v, v);
    }
    for (size_t at = 7; at < payload.size(); at += 3) {
      const int64_t blocks = (header_.width * (payload[at] >> 4) / (8 * max_h)) *
                             (header_.height * int64_t{payload[at] & 15} / (8 * max_v));
      min_scan_bits_ += blocks * (progressive_ ? 1 : 2);
      coefficient_bytes_ += blocks * kBlockBytes;
    }
    return absl::OkStatus();
  }

  absl::Status CountScan(Bytes payload) {
    if (header_.width == 0 || payload.empty()) return ImageCorrupt();
    // A decoder tells by the first scan whether more have to follow.
    if (scans_ == 0) several_scans_ = progressive_ || payload[0] < components_;
    ++scans_;
    const int64_t pixels = int64_t{header_.width} * header_.height;
    const int64_t limit = std::min(kMaxScans, std::max<int64_t>(kMaxScannedPixels / pixels, 1));
    if (scans_ <= limit) return absl::OkStatus();
    return ImageTooLarge(
        absl::StrCat("JPEG has more scans than the ", limit, " allowed for its number of pixels"));
  }

  absl::Status CheckCoefficients() const {
    // Divided, not multiplied: an operator's max_pixels can be anything.
    const int64_t pixels = coefficient_bytes_ / kMaxCoefficientBytesPerPixel;
    if (!several_scans_ || pixels <= limits_.max_pixels) return absl::OkStatus();
    return ImageTooLarge(absl::StrCat("JPEG of several scans takes ", coefficient_bytes_,
                                      " bytes to decode, the limit is ",
                                      kMaxCoefficientBytesPerPixel * limits_.max_pixels));
  }

  void SkipScan() {
    const size_t begin = at_, size = bytes_.size();
    while (at_ < size) {
      if (bytes_[at_] != 0xFF) {
        const void* found = std::memchr(&bytes_[at_], 0xFF, size - at_);
        at_ = found != nullptr ? static_cast<const uint8_t*>(found) - bytes_.data() : size;
        continue;
      }
      if (at_ + 1 == size) break;
      const uint8_t next = bytes_[at_ + 1];
      if (next != 0 && (next < kRst0 || next > kRst7)) break;
      at_ += 2;
    }
    KeepPart(header_, bytes_, begin, at_);
    scan_bytes_ += static_cast<int64_t>(at_ - begin);
  }

  const Bytes bytes_;
  const ImageLimits limits_;
  size_t at_ = 0;
  ImageHeader header_;
  bool has_exif_ = false;
  int components_ = 0;
  bool progressive_ = false, several_scans_ = false;
  int64_t scans_ = 0;
  int64_t scan_bytes_ = 0;
  int64_t min_scan_bits_ = 0;
  int64_t coefficient_bytes_ = 0;
};

}  // namespace

absl::StatusOr<ImageHeader> WalkJpeg(Bytes bytes, const ImageLimits& limits) {
  return JpegWalk(bytes, limits).Run();
}

}  // namespace glimpse
