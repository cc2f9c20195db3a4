#include "tools/inspect_image.h"

#include <chrono>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <vector>

#include "absl/strings/str_join.h"
#include "preprocess/image_decoder.h"
#include "preprocess/resize.h"

namespace glimpse {
namespace {

using SteadyClock = std::chrono::steady_clock;

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
  std::ifstream file(options.path, std::ios::binary);
  const std::vector<uint8_t> bytes((std::istreambuf_iterator<char>(file)),
                                   std::istreambuf_iterator<char>());
  if (!file) {
    err << "can't read " << options.path << "\n";
    return 1;
  }
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
