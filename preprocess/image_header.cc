#include "preprocess/image_header.h"

#include <algorithm>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "preprocess/image_walk.h"

namespace glimpse {
namespace {

constexpr char kReasonUrl[] = "glimpse.reason";
constexpr std::string_view kReasons[] = {"IMAGE_TOO_LARGE", "IMAGE_UNSUPPORTED", "IMAGE_CORRUPT"};

absl::Status ErrorWithReason(std::string_view reason, std::string_view message) {
  // The packaged abseil has a string_view of its own.
  absl::Status status =
      absl::InvalidArgumentError(absl::string_view(message.data(), message.size()));
  status.SetPayload(kReasonUrl, absl::Cord(absl::string_view(reason.data(), reason.size())));
  return status;
}

}  // namespace

absl::Status ImageTooLarge(std::string_view message) {
  return ErrorWithReason("IMAGE_TOO_LARGE", message);
}

absl::Status ImageUnsupported(std::string_view message) {
  return ErrorWithReason("IMAGE_UNSUPPORTED", message);
}

absl::Status ImageCorrupt() { return ErrorWithReason("IMAGE_CORRUPT", "image is cut or broken"); }

std::string_view ImageErrorReason(const absl::Status& status) {
  const absl::optional<absl::Cord> payload = status.GetPayload(kReasonUrl);
  if (!payload.has_value()) return {};
  for (std::string_view reason : kReasons) {
    if (*payload == absl::string_view(reason.data(), reason.size())) return reason;
  }
  return {};
}

absl::Status CheckImageSize(int64_t width, int64_t height, const ImageLimits& limits) {
  if (width < 1 || height < 1) return ImageCorrupt();
  if (std::max(width, height) > limits.max_side) {
    return ImageTooLarge(absl::StrCat("image is ", width, " x ", height,
                                      " pixels, the longest side allowed is ", limits.max_side));
  }
  if (width * height > limits.max_pixels) {  // no overflow: both sides are below 2^31 by now
    return ImageTooLarge(
        absl::StrCat("image has ", width * height, " pixels, the limit is ", limits.max_pixels));
  }
  return absl::OkStatus();
}

absl::Status CheckPieces(int pieces) {
  if (pieces <= kMaxPieces) return absl::OkStatus();
  return ImageTooLarge(absl::StrCat("image has more than ", kMaxPieces, " segments"));
}

void KeepPart(ImageHeader& header, Bytes bytes, size_t begin, size_t end) {
  const Bytes part = bytes.subspan(begin, end - begin);
  if (!header.parts.empty()) {
    Bytes& last = header.parts.back();
    if (last.data() + last.size() == part.data()) {
      last = Bytes(last.data(), last.size() + part.size());
      return;
    }
  }
  header.parts.push_back(part);
}

absl::StatusOr<ImageHeader> ReadImageHeader(absl::Span<const uint8_t> bytes,
                                            const ImageLimits& limits) {
  if (static_cast<int64_t>(bytes.size()) > limits.max_bytes) {
    return ImageTooLarge(
        absl::StrCat("image has ", bytes.size(), " bytes, the limit is ", limits.max_bytes));
  }
  if (HasText(bytes, 0, "\xff\xd8\xff")) return WalkJpeg(bytes, limits);
  if (HasText(bytes, 0, "\x89PNG\r\n\x1a\n")) return WalkPng(bytes, limits);
  if (HasText(bytes, 0, "RIFF") && HasText(bytes, 8, "WEBP")) return WalkWebp(bytes, limits);
  return ImageUnsupported("image is not a JPEG, PNG or WebP file");
}

}  // namespace glimpse
