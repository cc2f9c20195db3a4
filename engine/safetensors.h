// One .safetensors file, memory-mapped read-only: 8 bytes of header length (little-endian), a JSON
// header {"name": {"dtype", "shape", "data_offsets"}, ...}, then the tensors' bytes without gaps.
//
//   GLIMPSE_ASSIGN_OR_RETURN(auto file, SafetensorsFile::Open("model.safetensors"));
//   for (const auto& [name, tensor] : file->tensors()) Use(tensor.bytes);
//
// Open reads the header alone, and believes none of it: any file that it accepts gives views that
// lie inside the mapping, aligned for their type. Any thread may read an open file; there is
// nothing to change. The views point into the mapping, so they live as long as the object.
//
// The file must not be cut while it is open: touching a page past the new end is SIGBUS, and no
// check made at Open can prevent it. Replace a checkpoint by writing another directory.
#ifndef GLIMPSE_ENGINE_SAFETENSORS_H_
#define GLIMPSE_ENGINE_SAFETENSORS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace glimpse {

enum class DType { kFloat32, kBFloat16, kFloat16 };

int64_t DTypeSize(DType dtype);                             // bytes of an element
const char* DTypeName(DType dtype);                         // float32, bfloat16, float16
std::optional<DType> DTypeFromName(std::string_view name);  // the reverse of DTypeName
std::string ShapeString(absl::Span<const int64_t> shape);   // "[2, 3]"
int64_t NumElements(absl::Span<const int64_t> shape);       // of a shape already checked

struct TensorView {
  DType dtype = DType::kFloat32;
  std::vector<int64_t> shape;
  absl::Span<const uint8_t> bytes;  // row-major, little-endian; aligned to DTypeSize(dtype)
  std::string file;                 // the last component of the file's path
};

class SafetensorsFile {
 public:
  // NOT_FOUND: no such file. INVALID_ARGUMENT: not a whole and valid file; the message names the
  // file and, where there is one, the tensor. RESOURCE_EXHAUSTED: the mapping failed.
  static absl::StatusOr<std::unique_ptr<SafetensorsFile>> Open(const std::string& path);
  ~SafetensorsFile();
  SafetensorsFile(const SafetensorsFile&) = delete;
  SafetensorsFile& operator=(const SafetensorsFile&) = delete;

  const std::map<std::string, TensorView>& tensors() const { return tensors_; }

  // Asks the kernel to read the whole file ahead, before all of it is loaded.
  void Prefetch() const;

 private:
  explicit SafetensorsFile(absl::Span<const uint8_t> mapping) : mapping_(mapping) {}
  absl::Status ParseHeader(const std::string& path);

  const absl::Span<const uint8_t> mapping_;
  std::map<std::string, TensorView> tensors_;
};

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_SAFETENSORS_H_
