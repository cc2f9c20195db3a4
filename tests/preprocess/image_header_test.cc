#include "preprocess/image_header.h"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "tests/golden/images.inc"
#include "tests/preprocess/image_bytes.h"

namespace glimpse {
namespace {

using Format = ImageHeader::Format;

// The reason of the refusal, or "OK".
std::string Outcome(const std::string& file, const ImageLimits& limits = {}) {
  const absl::StatusOr<ImageHeader> header = ReadImageHeader(AsBytes(file), limits);
  if (header.ok()) return "OK";
  CHECK(header.status().code() == absl::StatusCode::kInvalidArgument);
  return std::string(ImageErrorReason(header.status()));
}

ImageHeader HeaderOf(const std::string& file) {
  const absl::StatusOr<ImageHeader> header = ReadImageHeader(AsBytes(file), {});
  REQUIRE(header.ok());
  return *header;
}

void CheckSize(const std::string& file, Format format, int width, int height) {
  const ImageHeader header = HeaderOf(file);
  CHECK(header.format == format);
  CHECK(header.width == width);
  CHECK(header.height == height);
}

// What a decoder would get.
std::string KeptBytes(const ImageHeader& header) {
  std::string kept;
  for (const auto& part : header.parts) kept.append(part.begin(), part.end());
  return kept;
}

std::string SmallJpeg() { return Jpeg(JpegFrame(20, 10) + JpegScan(100)); }
std::string SmallPng() { return Png(PngHeader(20, 10) + PngChunk("IDAT", "0123456789")); }

TEST_CASE("the size and format of a picture are read from its header") {
  CheckSize(AsString(kJpeg), Format::kJpeg, 24, 16);
  CheckSize(AsString(kProgressiveJpeg), Format::kJpeg, 24, 16);
  CheckSize(AsString(kPalettePng), Format::kPng, 24, 16);
  CheckSize(AsString(kLossyWebp), Format::kWebp, 24, 16);
  CheckSize(AsString(kAlphaWebp), Format::kWebp, 24, 16);
  CheckSize(AsString(kLosslessWebp), Format::kWebp, 24, 16);
  CheckSize(SmallJpeg(), Format::kJpeg, 20, 10);
  CheckSize(Webp(WebpCanvas(300, 7) + WebpLossy(300, 7)), Format::kWebp, 300, 7);
  CheckSize(Webp(WebpLossless(16000, 3)), Format::kWebp, 16000, 3);
}

TEST_CASE("what is not a JPEG, PNG or WebP is unsupported") {
  for (const std::string& file : {std::string(), std::string("\xff\xd8"), std::string("GIF89a"),
                                  std::string("P6 1 1 255 abc"), std::string("BM123456"),
                                  std::string("RIFF\x04\0\0\0WAVE", 12), std::string(100, '\0')}) {
    CHECK(Outcome(file) == "IMAGE_UNSUPPORTED");
  }
}

TEST_CASE("limits hold exactly, before anything is decoded") {
  ImageLimits limits;
  limits.max_pixels = 200;
  limits.max_side = 20;
  for (const auto& make :
       {+[](int w, int h) { return Jpeg(JpegFrame(w, h) + JpegScan(100)); },
        +[](int w, int h) { return Png(PngHeader(w, h) + PngChunk("IDAT", "0123456789")); },
        +[](int w, int h) { return Webp(WebpLossy(w, h)); },
        +[](int w, int h) { return Webp(WebpLossless(w, h)); }}) {
    CHECK(Outcome(make(20, 10), limits) == "OK");
    CHECK(Outcome(make(10, 20), limits) == "OK");
    CHECK(Outcome(make(21, 1), limits) == "IMAGE_TOO_LARGE");
    CHECK(Outcome(make(1, 21), limits) == "IMAGE_TOO_LARGE");
    CHECK(Outcome(make(19, 11), limits) == "IMAGE_TOO_LARGE");
  }
  CHECK(Outcome(Webp(WebpCanvas(21, 1) + WebpLossy(20, 1)), limits) == "IMAGE_TOO_LARGE");

  const std::string file = SmallPng();
  limits.max_bytes = static_cast<int64_t>(file.size());
  CHECK(Outcome(file, limits) == "OK");
  --limits.max_bytes;
  CHECK(Outcome(file, limits) == "IMAGE_TOO_LARGE");
}

TEST_CASE("a refusal for size names what was found and the limit") {
  const absl::Status status =
      ReadImageHeader(AsBytes(Png(PngHeader(16000, 16000))), ImageLimits{}).status();
  CHECK(status.message() == "image has 256000000 pixels, the limit is 50000000");
  const absl::Status side = ReadImageHeader(AsBytes(Png(PngHeader(3, 20000))), {}).status();
  CHECK(side.message() == "image is 3 x 20000 pixels, the longest side allowed is 16384");
}

TEST_CASE("only errors of pictures have a reason") {
  CHECK(ImageErrorReason(absl::OkStatus()).empty());
  CHECK(ImageErrorReason(absl::InvalidArgumentError("other")).empty());
  CHECK(ImageErrorReason(ImageCorrupt()) == "IMAGE_CORRUPT");
}

TEST_CASE(
    "kinds of JPEG that a decoder of 8-bit Huffman-coded pictures can't read are unsupported") {
  const std::string scan = JpegScan(100);
  CHECK(Outcome(Jpeg(JpegFrame(9, 9, 1) + scan)) == "OK");
  CHECK(Outcome(Jpeg(JpegFrame(9, 9, 4) + scan)) == "OK");
  CHECK(Outcome(Jpeg(JpegFrame(9, 9, 2) + scan)) == "IMAGE_UNSUPPORTED");
  CHECK(Outcome(Jpeg(JpegFrame(9, 9, 5) + scan)) == "IMAGE_UNSUPPORTED");
  CHECK(Outcome(Jpeg(JpegFrame(9, 9, 3, 12) + scan)) == "IMAGE_UNSUPPORTED");
  for (int marker : {0xC0, 0xC1, 0xC2}) {
    CHECK(Outcome(Jpeg(JpegFrame(9, 9, 3, 8, marker) + scan)) == "OK");
  }
  for (int marker : {0xC3, 0xC5, 0xC9, 0xCA, 0xCF}) {
    CHECK(Outcome(Jpeg(JpegFrame(9, 9, 3, 8, marker) + scan)) == "IMAGE_UNSUPPORTED");
  }
}

TEST_CASE("a JPEG with broken structure is corrupt") {
  const std::string frame = JpegFrame(20, 10), scan = JpegScan(100);
  CHECK(Outcome(Jpeg(frame)) == "IMAGE_CORRUPT");                 // no scan
  CHECK(Outcome(Jpeg(scan)) == "IMAGE_CORRUPT");                  // no frame
  CHECK(Outcome(Jpeg(frame + frame + scan)) == "IMAGE_CORRUPT");  // two frames
  CHECK(Outcome(Jpeg(JpegFrame(0, 10) + scan)) == "IMAGE_CORRUPT");
  CHECK(Outcome(Jpeg(JpegFrame(20, 0) + scan)) == "IMAGE_CORRUPT");
  CHECK(Outcome(Jpeg(JpegFrame(20, 10, 0) + scan)) == "IMAGE_CORRUPT");
  CHECK(Outcome(Jpeg(frame + "garbage" + scan)) == "IMAGE_CORRUPT");
  CHECK(Outcome(Jpeg(frame + Raw({0xFF, 0xDB, 0, 1}) + scan)) == "IMAGE_CORRUPT");  // length 1
  CHECK(Outcome(Jpeg(frame + Raw({0xFF, 0xDB, 0xFF, 0xFF}) + scan)) == "IMAGE_CORRUPT");
}

TEST_CASE("stuffed bytes, restart markers and fill bytes do not end a scan") {
  const std::string data = Raw({0xFF, 0x00, 0xFF, 0xD0, 0x12, 0xFF, 0xD7, 0xFF, 0xFF});
  CHECK(Outcome(Jpeg(JpegFrame(8, 8) + JpegScan(20) + data)) == "OK");
}

TEST_CASE("bytes behind the end of a picture do no harm and reach no decoder") {
  for (const std::string& file : {SmallJpeg(), SmallPng(), AsString(kLossyWebp)}) {
    CHECK(KeptBytes(HeaderOf(file + "trailer")).find("trailer") == std::string::npos);
  }
}

TEST_CASE("a progressive JPEG may not have thousands of scans") {
  const auto file = [](int side, int scans) {
    std::string inside = JpegFrame(side, side, 3, 8, 0xC2) + JpegScan(side * side / 16);
    for (int i = 1; i < scans; ++i) inside += JpegScan(10);
    return Jpeg(inside);
  };
  CHECK(Outcome(file(16, 100)) == "OK");
  CHECK(Outcome(file(16, 101)) == "IMAGE_TOO_LARGE");
  CHECK(Outcome(file(5000, 40)) == "OK");
  CHECK(Outcome(file(5000, 41)) == "IMAGE_TOO_LARGE");
}

TEST_CASE("a JPEG of several scans is refused where its coefficients would take too much memory") {
  ImageLimits limits;
  limits.max_pixels = 96 * 64;  // 4 bytes each are 24576; three colours of 8 x 8 blocks take 6
  const auto file = [](int width, int marker, int scan_components) {
    return Jpeg(JpegFrame(width, 64, 3, 8, marker) + JpegScan(100, scan_components));
  };
  CHECK(Outcome(file(64, 0xC2, 3), limits) == "OK");
  CHECK(Outcome(file(72, 0xC2, 3), limits) == "IMAGE_TOO_LARGE");  // progressive
  CHECK(Outcome(file(64, 0xC0, 1), limits) == "OK");
  CHECK(Outcome(file(72, 0xC0, 1), limits) == "IMAGE_TOO_LARGE");  // a scan for each colour
  CHECK(Outcome(file(96, 0xC0, 3), limits) == "OK");               // one scan: row by row
  const absl::Status status = ReadImageHeader(AsBytes(file(72, 0xC2, 3)), limits).status();
  CHECK(status.message() ==
        "JPEG of several scans takes 27648 bytes to decode, the limit is 24576");
}

TEST_CASE("a file of very many small segments is refused") {
  std::string jpeg, png, webp;
  for (int i = 0; i < 20'000; ++i) {
    jpeg += JpegSegment(0xFE, "");
    png += PngChunk("tEXt", "");
    webp += WebpChunk("ABCD", "");
  }
  CHECK(Outcome(WithSegment(SmallJpeg(), jpeg)) == "IMAGE_TOO_LARGE");
  CHECK(Outcome(Png(PngHeader(2, 2) + png + PngChunk("IDAT", "data"))) == "IMAGE_TOO_LARGE");
  CHECK(Outcome(Webp(WebpLossy(2, 2) + webp)) == "IMAGE_TOO_LARGE");
}

TEST_CASE("a file far too short for its number of pixels is corrupt") {
  CHECK(Outcome(Jpeg(JpegFrame(7000, 7000) + JpegScan(1000))) == "IMAGE_CORRUPT");
  CHECK(Outcome(Png(PngHeader(7000, 7000) + PngChunk("IDAT", std::string(1000, 'x')))) ==
        "IMAGE_CORRUPT");
}

TEST_CASE("EXIF's orientation is read in both byte orders") {
  for (int orientation = 1; orientation <= 8; ++orientation) {
    for (bool little : {false, true}) {
      const std::string tiff = ExifTiff(orientation, little);
      CHECK(HeaderOf(WithSegment(SmallJpeg(), ExifSegment(tiff))).orientation == orientation);
      CHECK(HeaderOf(Png(PngHeader(2, 2) + PngChunk("eXIf", tiff) + PngChunk("IDAT", "data")))
                .orientation == orientation);
      CHECK(HeaderOf(Webp(WebpCanvas(5, 5, 8) + WebpLossy(5, 5) + WebpChunk("EXIF", tiff)))
                .orientation == orientation);
    }
  }
}

TEST_CASE("malformed EXIF is ignored") {
  const std::string good = ExifTiff(6);
  std::vector<std::string> malformed = {"", "XX", ExifTiff(0), ExifTiff(9)};
  for (size_t length = 0; length < good.size() - 4; ++length) {  // the last 4 are not needed
    malformed.push_back(good.substr(0, length));
  }
  malformed.push_back("MM" + Big(42, 2) + Big(0xFFFFFFFF, 4) + good.substr(8));  // offset far away
  malformed.push_back("MM" + Big(42, 2) + Big(8, 4) + Big(0xFFFF, 2));           // count too high
  for (const std::string& tiff : malformed) {
    CHECK(HeaderOf(WithSegment(SmallJpeg(), ExifSegment(tiff))).orientation == 1);
  }
}

TEST_CASE("a PNG with broken structure is corrupt") {
  const std::string header = PngHeader(20, 10), data = PngChunk("IDAT", "0123456789");
  const std::string palette = PngChunk("PLTE", "rgbrgb");
  CHECK(Outcome(Png(data + header)) == "IMAGE_CORRUPT");  // not the first
  CHECK(Outcome(Png(header)) == "IMAGE_CORRUPT");         // no data
  CHECK(Outcome(Png(header + data + PngChunk("tEXt", "a") + data)) == "IMAGE_CORRUPT");
  CHECK(Outcome(Png(header + PngChunk("ABCD", "") + data)) == "IMAGE_CORRUPT");
  CHECK(Outcome(Png(header + palette + palette + data)) == "IMAGE_CORRUPT");
  CHECK(Outcome(Png(header + PngChunk("PLTE", "rgbr") + data)) == "IMAGE_CORRUPT");
  CHECK(Outcome(Png(PngHeader(20, 10, 8, 3) + data)) == "IMAGE_CORRUPT");  // no palette
  CHECK(Outcome(Png(PngHeader(20, 10, 8, 3) + palette + data)) == "OK");
  CHECK(Outcome(Png(PngHeader(20, 10, 16, 3) + palette + data)) == "IMAGE_CORRUPT");
  CHECK(Outcome(Png(PngHeader(20, 10, 4, 2) + data)) == "IMAGE_CORRUPT");
  CHECK(Outcome(Png(PngHeader(20, 10, 8, 5) + data)) == "IMAGE_CORRUPT");
  CHECK(Outcome(Png(PngHeader(0, 10) + data)) == "IMAGE_CORRUPT");
  CHECK(Outcome(Png(PngHeader(0xFFFFFFFF, 0xFFFFFFFF) + data)) == "IMAGE_TOO_LARGE");
}

TEST_CASE("any changed byte of a PNG is noticed") {
  const std::string file = AsString(kPng);
  for (size_t at = 8; at < file.size(); ++at) {
    std::string changed = file;
    changed[at] = static_cast<char>(changed[at] ^ 0x10);
    CHECK(Outcome(changed) != "OK");
  }
}

TEST_CASE("a decoder sees no metadata, texts, profiles or thumbnails") {
  const std::string png =
      Png(PngHeader(20, 10) + PngChunk("iCCP", "secret") + PngChunk("zTXt", "secret") +
          PngChunk("IDAT", "0123456789") + PngChunk("tEXt", "secret"));
  CHECK(KeptBytes(HeaderOf(png)) == SmallPng());
  const std::string jpeg =
      WithSegment(SmallJpeg(), JpegSegment(0xE1, "secret") + JpegSegment(0xE2, "secret") +
                                   JpegSegment(0xFE, "secret"));
  CHECK(KeptBytes(HeaderOf(jpeg)) == SmallJpeg());
  const std::string webp =
      Webp(WebpCanvas(5, 5, 0x20) + WebpChunk("ICCP", "secret") + WebpLossy(5, 5));
  CHECK(KeptBytes(HeaderOf(webp)) == WebpLossy(5, 5));
}

TEST_CASE("a WebP with broken structure is corrupt") {
  CHECK(Outcome(Webp("")) == "IMAGE_CORRUPT");
  CHECK(Outcome(Webp(WebpCanvas(5, 5))) == "IMAGE_CORRUPT");  // no picture
  CHECK(Outcome(Webp(WebpCanvas(5, 5) + WebpLossy(5, 6))) == "IMAGE_CORRUPT");
  CHECK(Outcome(Webp(WebpLossy(5, 5) + WebpCanvas(5, 5))) == "IMAGE_CORRUPT");
  CHECK(Outcome(Webp(WebpLossy(5, 5) + WebpLossy(5, 5))) == "IMAGE_CORRUPT");
  CHECK(Outcome(Webp(WebpLossy(0, 5))) == "IMAGE_CORRUPT");
  CHECK(Outcome(Webp(WebpChunk("VP8L", "short"))) == "IMAGE_CORRUPT");
  CHECK(Outcome(Webp("VP8 " + Little(1000, 4) + "short")) == "IMAGE_CORRUPT");
}

TEST_CASE("an animated WebP is unsupported") {
  CHECK(Outcome(Webp(WebpCanvas(5, 5, 0x02) + WebpChunk("ANIM", "123456"))) == "IMAGE_UNSUPPORTED");
}

TEST_CASE("a picture cut anywhere is refused") {
  const std::string files[] = {AsString(kJpeg),      AsString(kProgressiveJpeg),
                               AsString(kPng),       AsString(kLossyWebp),
                               AsString(kAlphaWebp), AsString(kLosslessWebp)};
  for (const std::string& file : files) {
    REQUIRE(Outcome(file) == "OK");
    for (size_t length = 0; length < file.size(); ++length) {
      // The longest signature, WebP's, is not there before.
      if (length >= 12) {
        CHECK(Outcome(file.substr(0, length)) == "IMAGE_CORRUPT");
      } else {
        CHECK(Outcome(file.substr(0, length)) != "OK");
      }
    }
  }
}

}  // namespace
}  // namespace glimpse
