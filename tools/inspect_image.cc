#include "tools/inspect_image.h"

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_join.h"
#include "absl/types/span.h"
#include "preprocess/image_decoder.h"
#include "preprocess/read_file.h"
#include "preprocess/resize.h"

namespace glimpse {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr size_t kMaxFileBytes = size_t{1} << 30;  // far above what DecodeImage takes

double SecondsSince(SteadyClock::time_point start) {
  return std::chrono::duration<double>(SteadyClock::now() - start).count();
}

void WritePpm(const RgbImage& image, std::ostream& out) {
  out << "P6\n" << image.width << " " << image.height << "\n255\n";
  out.write(reinterpret_cast<const char*>(image.pixels.data()),
            static_cast<std::streamsize>(image.pixels.size()));
}

}  // namespace

int RunImage(const InspectImageOptions& options, std::ostream& out, std::ostream& err) {
  const absl::StatusOr<std::string> file = ReadFile(options.path, kMaxFileBytes);
  if (!file.ok()) {
    err << file.status().message() << "\n";
    return 1;
  }
  const absl::Span<const uint8_t> bytes(reinterpret_cast<const uint8_t*>(file->data()),
                                        file->size());
  RgbImage picture;
  std::vector<double> decode_seconds, resize_seconds;
  for (int run = 0; run < options.repeat; ++run) {
    const auto start = SteadyClock::now();
    absl::StatusOr<RgbImage> decoded = DecodeImage(bytes, options.limits);
    decode_seconds.push_back(SecondsSince(start));
    if (!decoded.ok()) {
      err << ImageErrorReason(decoded.status()) << ": " << decoded.status().message() << "\n";
      return 1;
    }
    const auto middle = SteadyClock::now();
    picture = options.size == 0 ? *std::move(decoded)
                                : ResizeBicubic(*decoded, options.size, options.size);
    resize_seconds.push_back(SecondsSince(middle));
  }
  if (options.repeat > 1) {
    err << "{\"decode_seconds\": [" << absl::StrJoin(decode_seconds, ", ")
        << "], \"resize_seconds\": [" << absl::StrJoin(resize_seconds, ", ") << "]}\n";
  }
  WritePpm(picture, out);
  return out.flush() ? 0 : 1;
}

}  // namespace glimpse
