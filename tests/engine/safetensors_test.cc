#include "engine/safetensors.h"

#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <cstring>
#include <random>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/engine/checkpoint_writer.h"

namespace glimpse {
namespace {

const std::string kData = "0123456789abcdefghijklmn";  // 24 bytes

class File {
 public:
  absl::StatusOr<std::unique_ptr<SafetensorsFile>> Open(const std::string& bytes) {
    WriteFile(path_, bytes);
    return SafetensorsFile::Open(path_);
  }

  // The fault without the path.
  std::string FaultOf(const std::string& bytes) {
    const absl::Status status = Open(bytes).status();
    REQUIRE(absl::IsInvalidArgument(status));
    const std::string message(status.message());
    REQUIRE(message.rfind(path_ + ": ", 0) == 0);
    return message.substr(path_.size() + 2);
  }

  std::string FaultOfHeader(const std::string& header, const std::string& data = kData) {
    return FaultOf(SafetensorsBytes(header, data));
  }

  const std::string& path() const { return path_; }

 private:
  TemporaryDirectory directory_;
  std::string path_ = directory_.path() + "/w.safetensors";
};

std::string Entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return absl::StrCat("\"", name, R"(":{"dtype":")", dtype, R"(","shape":)", shape,
                      R"(,"data_offsets":)", offsets, "}");
}

std::string Header(const std::string& first, const std::string& second = "") {
  return absl::StrCat("{", first, second.empty() ? "" : ",", second, "}");
}

TEST_CASE("safetensors gives each tensor's type, shape and bytes") {
  File file;
  const auto opened = file.Open(SafetensorsBytes({{"a", "F32", {2, 1}, "01234567"},
                                                  {"b", "BF16", {}, "ab"},
                                                  {"empty", "F16", {0, 4}, ""},
                                                  {"c", "F16", {3}, "cdefgh"}}));
  REQUIRE(opened.ok());
  const auto& tensors = (*opened)->tensors();
  REQUIRE(tensors.size() == 4);
  const TensorView& a = tensors.at("a");
  CHECK(a.dtype == DType::kFloat32);
  CHECK(a.shape == std::vector<int64_t>{2, 1});
  CHECK(std::string(a.bytes.begin(), a.bytes.end()) == "01234567");
  CHECK(a.file == "w.safetensors");
  CHECK(tensors.at("b").dtype == DType::kBFloat16);
  CHECK(tensors.at("b").shape.empty());
  const TensorView& c = tensors.at("c");
  CHECK(c.dtype == DType::kFloat16);
  CHECK(std::string(c.bytes.begin(), c.bytes.end()) == "cdefgh");
  CHECK(tensors.at("empty").bytes.empty());
}

TEST_CASE("safetensors refuses what is not a whole regular file") {
  File file;
  const TemporaryDirectory directory;
  CHECK(absl::IsNotFound(SafetensorsFile::Open(directory.path() + "/w").status()));
  CHECK(SafetensorsFile::Open(directory.path()).status() ==
        absl::InvalidArgumentError(directory.path() + ": not a regular file"));
  const std::string pipe = directory.path() + "/pipe";
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  CHECK(absl::IsInvalidArgument(SafetensorsFile::Open(pipe).status()));

  CHECK(file.FaultOf("") == "0 bytes, expected at least 8");
  CHECK(file.FaultOf("1234567") == "7 bytes, expected at least 8");
  CHECK(file.FaultOf(std::string(8, '\0')) == "header does not begin with '{'");
  CHECK(file.FaultOf(std::string("\x03\0\0\0\0\0\0\0{}", 10)) ==
        "header of 3 bytes, expected at most 2");
  CHECK(file.FaultOf(std::string(8, '\xff') + "{}") ==
        "header of 18446744073709551615 bytes, expected at most 2");
}

TEST_CASE("safetensors refuses a header over the format's limit without reading it") {
  File file;
  WriteFile(file.path(), std::string("\x01\xe1\xf5\x05\0\0\0\0{", 9));  // 100,000,001
  REQUIRE(::truncate(file.path().c_str(), 200'000'000) == 0);           // sparse
  const absl::Status status = SafetensorsFile::Open(file.path()).status();
  CHECK(status == absl::InvalidArgumentError(
                      file.path() + ": header of 100000001 bytes, expected at most 100000000"));
}

TEST_CASE("safetensors refuses a header that is not one JSON object with distinct names") {
  File file;
  CHECK(file.FaultOfHeader("[]") == "header does not begin with '{'");
  CHECK(file.FaultOfHeader("{\"a\":") == "not valid JSON at byte 9");
  CHECK(file.FaultOfHeader("{\"a\":" + std::string(1'000'000, '[')) ==
        "JSON nested deeper than 16");
  const std::string entry = Entry("a", "F32", "[6]", "[0,24]");
  CHECK(file.FaultOfHeader(Header(entry, entry)) == "the key 'a' appears twice");
}

TEST_CASE("safetensors names the tensor whose entry is wrong") {
  File file;
  const auto fault = [&](const std::string& dtype, const std::string& shape,
                         const std::string& offsets) {
    return file.FaultOfHeader(Header(Entry("a.b", dtype, shape, offsets)));
  };
  const std::string bounds =
      "expected [begin, end] with begin <= end <= 24, the bytes after the "
      "header";
  const std::string sizes = "expected at most 8 sizes with a product below 2^63 bytes";
  const std::string tensor = "tensor 'a.b': ";

  CHECK(fault("I64", "[3]", "[0,24]") == tensor + "dtype is \"I64\", expected F32, BF16 or F16");
  CHECK(fault("F32", "[5]", "[0,24]") ==
        tensor + "24 bytes at data_offsets, expected 20 for [5] float32");
  CHECK(fault("BF16", "[6]", "[0,24]") ==
        tensor + "24 bytes at data_offsets, expected 12 for [6] bfloat16");
  CHECK(fault("F32", "[6]", "[24,0]") == tensor + "data_offsets are [24,0], " + bounds);
  CHECK(fault("F32", "[6]", "[4,28]") == tensor + "data_offsets are [4,28], " + bounds);
  CHECK(fault("F32", "[6]", "[-1,23]") == tensor + "data_offsets are [-1,23], " + bounds);
  CHECK(fault("F32", "[6]", "[0]") == tensor + "data_offsets are [0], " + bounds);
  CHECK(fault("F32", "[6]", "[0,24,24]") == tensor + "data_offsets are [0,24,24], " + bounds);
  CHECK(fault("F32", "[6]", "[0,24.0]") == tensor + "data_offsets are [0,24.0], " + bounds);
  CHECK(fault("F32", "[6]", "[0,18446744073709551615]") ==
        tensor + "data_offsets are [0,18446744073709551615], " + bounds);
  CHECK(fault("F32", "[-6]", "[0,24]") == tensor + "shape is [-6], " + sizes);
  CHECK(fault("F32", "6", "[0,24]") == tensor + "shape is 6, " + sizes);
  CHECK(fault("F32", "[1,1,1,1,1,1,1,1,6]", "[0,24]") ==
        tensor + "shape is [1,1,1,1,1,1,1,1,6], " + sizes);
  // 2^62 elements of 4 bytes are 0 in 64 bits.
  CHECK(fault("F32", "[2147483648,2147483648]", "[0,0]") ==
        tensor + "shape is [2147483648,2147483648], " + sizes);
  CHECK(file.FaultOfHeader(R"({"a.b":{"dtype":"F32","shape":[6]}})") ==
        tensor + "expected dtype, shape and data_offsets");
  CHECK(file.FaultOfHeader(R"({"a.b":3})") == tensor + "expected dtype, shape and data_offsets");
}

TEST_CASE("safetensors refuses overlaps, holes and bytes that belong to no tensor") {
  File file;
  const auto fault = [&](const std::string& first, const std::string& second,
                         const std::string& data) {
    return file.FaultOfHeader(
        Header(Entry("a", "F32", "[2]", first), Entry("b", "F32", "[4]", second)), data);
  };
  const std::string where = ": expected to begin where the one before ends, at ";
  CHECK(fault("[0,8]", "[4,20]", kData) == "tensor 'b': begins at 4, an overlap" + where + "8");
  CHECK(fault("[0,8]", "[0,16]", kData) == "tensor 'b': begins at 0, an overlap" + where + "8");
  CHECK(fault("[0,8]", "[12,28]", kData + "1234") ==
        "tensor 'b': begins at 12, a hole" + where + "8");
  CHECK(fault("[4,12]", "[12,28]", kData + "1234") ==
        "tensor 'a': begins at 4, a hole" + where + "0");
  CHECK(fault("[0,8]", "[8,24]", kData + "x") ==
        "the tensors end at 24 of the 25 bytes after the header");
  CHECK(file.FaultOfHeader("{}", "x") == "the tensors end at 0 of the 1 bytes after the header");
}

TEST_CASE("safetensors refuses a cut file") {
  File file;
  const std::string whole = SafetensorsBytes({{"a", "F32", {6}, kData}});
  REQUIRE(file.Open(whole).ok());
  for (size_t size = 0; size < whole.size(); ++size) {
    CHECK(absl::IsInvalidArgument(file.Open(whole.substr(0, size)).status()));
  }
}

TEST_CASE("safetensors refuses data that is not aligned for its type") {
  File file;
  std::string header = Header(Entry("a", "F32", "[6]", "[0,24]"));
  while ((8 + header.size()) % 4 != 2) header += ' ';
  const std::string length = {static_cast<char>(header.size()), 0, 0, 0, 0, 0, 0, 0};
  CHECK(file.FaultOf(length + header + kData) ==
        "tensor 'a': begins at an address that is not a multiple of 4 bytes");
}

// Every byte of a view is read, so that a view outside of the mapping is seen by the sanitizer or
// as a crash.
std::string Contents(const SafetensorsFile& file) {
  std::string contents;
  for (const auto& [name, tensor] : file.tensors()) {
    absl::StrAppend(&contents, name, DTypeName(tensor.dtype), ShapeString(tensor.shape));
    contents.append(tensor.bytes.begin(), tensor.bytes.end());
  }
  return contents;
}

TEST_CASE("safetensors survives a mutated header") {
  File file;
  const std::string whole = SafetensorsBytes({{"first.weight", "F32", {2, 2}, kData.substr(0, 16)},
                                              {"second.bias", "BF16", {4}, kData.substr(16)}});
  const size_t header_end = whole.size() - kData.size();
  std::mt19937 random(20260101);
  int accepted = 0, refused = 0;
  for (int round = 0; round < 5000; ++round) {
    std::string bytes = whole;
    for (unsigned flips = 1 + random() % 3; flips > 0; --flips) {
      bytes[random() % header_end] ^= static_cast<char>(1u << random() % 8);
    }
    if (random() % 8 == 0) bytes.resize(random() % bytes.size());
    const auto opened = file.Open(bytes);
    if (!opened.ok()) {
      ++refused;
      REQUIRE(absl::IsInvalidArgument(opened.status()));
      REQUIRE(absl::StartsWith(opened.status().message(), file.path() + ": "));
      continue;
    }
    ++accepted;  // a name or a type of the same size changed, at most
    REQUIRE(Contents(**opened).size() >= kData.size());
  }
  CHECK(accepted > 0);
  CHECK(refused > 4000);
}

}  // namespace
}  // namespace glimpse
