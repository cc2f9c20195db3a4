#include "engine/safetensors.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "engine/strict_json.h"
#include "preprocess/read_file.h"
#include "preprocess/status_macros.h"

namespace glimpse {
namespace {

using nlohmann::json;

constexpr size_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit
constexpr size_t kMaxRank = 8;

absl::Status Broken(const std::string& path, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", what));
}

std::string Named(absl::string_view tensor, absl::string_view what) {
  return absl::StrCat("tensor ", Quoted(tensor), ": ", what);
}

absl::StatusOr<absl::Span<const uint8_t>> MapOpenFile(const OpenFile& file,
                                                      const std::string& path) {
  if (file.size < kLengthBytes) {
    return Broken(path, absl::StrCat(file.size, " bytes, expected at least 8"));
  }
  void* const address = ::mmap(nullptr, file.size, PROT_READ, MAP_SHARED, file.descriptor, 0);
  if (address == MAP_FAILED) {
    return absl::ResourceExhaustedError(
        absl::StrCat(path, ": cannot map ", file.size, " bytes: ", std::strerror(errno)));
  }
  return absl::MakeConstSpan(static_cast<const uint8_t*>(address), file.size);
}

absl::StatusOr<absl::Span<const uint8_t>> MapFile(const std::string& path) {
  GLIMPSE_ASSIGN_OR_RETURN(const OpenFile file, OpenRegularFile(path));
  absl::StatusOr<absl::Span<const uint8_t>> mapping = MapOpenFile(file, path);
  ::close(file.descriptor);  // the mapping stays
  return mapping;
}

uint64_t LittleEndian64(const uint8_t* bytes) {
  uint64_t value = 0;
  for (int i = 7; i >= 0; --i) value = value << 8 | bytes[i];
  return value;
}

std::optional<DType> DTypeFromHeader(const json& value) {
  if (value == "F32") return DType::kFloat32;
  if (value == "BF16") return DType::kBFloat16;
  if (value == "F16") return DType::kFloat16;
  return std::nullopt;
}

// An array of at most `max_count` integers, each from 0 to 2^63 - 1.
std::optional<std::vector<int64_t>> Integers(const json& value, size_t max_count) {
  if (!value.is_array() || value.size() > max_count) return std::nullopt;
  std::vector<int64_t> numbers;
  for (const json& number : value) {
    if (!number.is_number_unsigned() || number.get<uint64_t>() > INT64_MAX) return std::nullopt;
    numbers.push_back(number.get<int64_t>());
  }
  return numbers;
}

// Bytes of a tensor, or empty if they do not fit an int64.
std::optional<int64_t> ByteSize(absl::Span<const int64_t> shape, DType dtype) {
  int64_t bytes = DTypeSize(dtype);
  for (int64_t size : shape) {
    if (__builtin_mul_overflow(bytes, size, &bytes)) return std::nullopt;
  }
  return bytes;
}

// One entry of the header; `data` is what follows the header. The fault comes without file and
// tensor.
absl::StatusOr<TensorView> ParseEntry(const json& entry, absl::Span<const uint8_t> data) {
  if (!entry.is_object() || entry.size() != 3 || !entry.contains("dtype") ||
      !entry.contains("shape") || !entry.contains("data_offsets")) {
    return absl::InvalidArgumentError("expected dtype, shape and data_offsets");
  }
  const std::optional<DType> dtype = DTypeFromHeader(entry["dtype"]);
  if (!dtype) {
    return absl::InvalidArgumentError(
        absl::StrCat("dtype is ", Shown(entry["dtype"]), ", expected F32, BF16 or F16"));
  }
  const std::optional<std::vector<int64_t>> shape = Integers(entry["shape"], kMaxRank);
  const std::optional<int64_t> bytes = shape ? ByteSize(*shape, *dtype) : std::nullopt;
  if (!bytes) {
    return absl::InvalidArgumentError(absl::StrCat("shape is ", Shown(entry["shape"]),
                                                   ", expected at most ", kMaxRank,
                                                   " sizes with a product below 2^63 bytes"));
  }
  const std::optional<std::vector<int64_t>> offsets = Integers(entry["data_offsets"], 2);
  const int64_t data_size = data.size();
  if (!offsets || offsets->size() != 2 || offsets->at(0) > offsets->at(1) ||
      offsets->at(1) > data_size) {
    return absl::InvalidArgumentError(
        absl::StrCat("data_offsets are ", Shown(entry["data_offsets"]),
                     ", expected [begin, end] with begin <= end <= ", data_size,
                     ", the bytes after the header"));
  }
  const int64_t length = offsets->at(1) - offsets->at(0);
  if (length != *bytes) {
    return absl::InvalidArgumentError(absl::StrCat(length, " bytes at data_offsets, expected ",
                                                   *bytes, " for ", ShapeString(*shape), " ",
                                                   DTypeName(*dtype)));
  }
  const absl::Span<const uint8_t> slice = data.subspan(offsets->at(0), length);
  if (reinterpret_cast<uintptr_t>(slice.data()) % DTypeSize(*dtype) != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "begins at an address that is not a multiple of ", DTypeSize(*dtype), " bytes"));
  }
  return TensorView{*dtype, *shape, slice, ""};
}

// Whether the tensors follow one another from the first byte of `data` to its last.
absl::Status CheckCoverage(const std::map<std::string, TensorView>& tensors,
                           absl::Span<const uint8_t> data) {
  std::vector<std::pair<absl::Span<const uint8_t>, std::string>> slices;
  for (const auto& [name, tensor] : tensors) slices.emplace_back(tensor.bytes, name);
  std::sort(slices.begin(), slices.end(), [](const auto& a, const auto& b) {
    return std::pair(a.first.data(), a.first.size()) < std::pair(b.first.data(), b.first.size());
  });
  const uint8_t* expected = data.data();
  for (const auto& [bytes, name] : slices) {
    if (bytes.data() != expected) {
      const int64_t begin = bytes.data() - data.data();
      return absl::InvalidArgumentError(Named(
          name, absl::StrCat(
                    "begins at ", begin, ", ", bytes.data() < expected ? "an overlap" : "a hole",
                    ": expected to begin where the one before ends, at ", expected - data.data())));
    }
    expected = bytes.data() + bytes.size();
  }
  if (expected != data.data() + data.size()) {
    return absl::InvalidArgumentError(absl::StrCat("the tensors end at ", expected - data.data(),
                                                   " of the ", data.size(),
                                                   " bytes after the header"));
  }
  return absl::OkStatus();
}

}  // namespace

int64_t DTypeSize(DType dtype) { return dtype == DType::kFloat32 ? 4 : 2; }

const char* DTypeName(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return "float32";
    case DType::kBFloat16:
      return "bfloat16";
    case DType::kFloat16:
      return "float16";
  }
  return "unknown";
}

std::optional<DType> DTypeFromName(std::string_view name) {
  for (DType dtype : {DType::kFloat32, DType::kBFloat16, DType::kFloat16}) {
    if (name == DTypeName(dtype)) return dtype;
  }
  return std::nullopt;
}

std::string ShapeString(absl::Span<const int64_t> shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

int64_t NumElements(absl::Span<const int64_t> shape) {
  int64_t count = 1;
  for (int64_t size : shape) count *= size;
  return count;
}

absl::StatusOr<std::unique_ptr<SafetensorsFile>> SafetensorsFile::Open(const std::string& path) {
  GLIMPSE_ASSIGN_OR_RETURN(const absl::Span<const uint8_t> mapping, MapFile(path));
  std::unique_ptr<SafetensorsFile> file(new SafetensorsFile(mapping));
  GLIMPSE_RETURN_IF_ERROR(file->ParseHeader(path));
  return file;
}

SafetensorsFile::~SafetensorsFile() {
  ::munmap(const_cast<uint8_t*>(mapping_.data()), mapping_.size());
}

void SafetensorsFile::Prefetch() const {
  // Advice only: a kernel that does not take it reads on demand.
  ::madvise(const_cast<uint8_t*>(mapping_.data()), mapping_.size(), MADV_WILLNEED);
}

absl::Status SafetensorsFile::ParseHeader(const std::string& path) {
  const uint64_t length = LittleEndian64(mapping_.data());
  const uint64_t available = mapping_.size() - kLengthBytes;
  if (length > std::min(available, kMaxHeaderBytes)) {
    return Broken(path, absl::StrCat("header of ", length, " bytes, expected at most ",
                                     std::min(available, kMaxHeaderBytes)));
  }
  const absl::string_view text(reinterpret_cast<const char*>(mapping_.data()) + kLengthBytes,
                               length);
  if (text.empty() || text[0] != '{') return Broken(path, "header does not begin with '{'");
  GLIMPSE_ASSIGN_OR_RETURN(const json header, ParseStrictJson(text, path));

  const absl::Span<const uint8_t> data = mapping_.subspan(kLengthBytes + length);
  const std::string file_name = std::filesystem::path(path).filename();
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    absl::StatusOr<TensorView> tensor = ParseEntry(entry, data);
    if (!tensor.ok()) return Broken(path, Named(name, tensor.status().message()));
    tensor->file = file_name;
    tensors_.emplace(name, *std::move(tensor));
  }
  const absl::Status coverage = CheckCoverage(tensors_, data);
  return coverage.ok() ? coverage : Broken(path, coverage.message());
}

}  // namespace glimpse
