// JSON from files that nobody vouches for. nlohmann::json alone keeps the last of two equal keys
// and puts no bound on depth or on the memory that a text unfolds to.
#ifndef GLIMPSE_ENGINE_STRICT_JSON_H_
#define GLIMPSE_ENGINE_STRICT_JSON_H_

#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace glimpse {

// INVALID_ARGUMENT, beginning with `file`: not JSON, not an object, a key twice in one object,
// nested deeper than 16, more than 2^20 values.
absl::StatusOr<nlohmann::json> ParseStrictJson(absl::string_view text, absl::string_view file);

// The same for a whole file of at most 64 MiB. NOT_FOUND: no such file.
absl::StatusOr<nlohmann::json> ReadStrictJson(const std::string& path);

// Text of a file as it may stand in a message: in quotes, escaped, cut at 120 bytes.
std::string Quoted(absl::string_view text);

// A value as it may stand in a message: its JSON, escaped and cut in the same way.
std::string Shown(const nlohmann::json& value);

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_STRICT_JSON_H_
