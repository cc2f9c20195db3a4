// The byte-pair vocabulary of a checkpoint: token bytes <-> rank, where the rank is also the id.
// Immutable after Load, so any thread may read it.
#ifndef GLIMPSE_PREPROCESS_VOCABULARY_H_
#define GLIMPSE_PREPROCESS_VOCABULARY_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace glimpse {

class Vocabulary {
 public:
  static constexpr int32_t kNoRank = std::numeric_limits<int32_t>::max();
  static constexpr int32_t kMaxTokens = 1 << 23;  // byte_pair.cc packs ranks into numbers

  // Reads a tiktoken file: line k is base64(token bytes), one space, k. INVALID_ARGUMENT, naming
  // file and line, for anything else: bad base64, another rank, bytes that occurred before; also,
  // naming the file, if one of the 256 single bytes is missing: some text would have no ids.
  static absl::StatusOr<Vocabulary> Load(const std::string& path);

  Vocabulary(Vocabulary&&) = default;
  Vocabulary& operator=(Vocabulary&&) = default;
  Vocabulary(const Vocabulary&) = delete;  // ranks_ points into bytes_
  Vocabulary& operator=(const Vocabulary&) = delete;

  // kNoRank for bytes (at least one) that are no token.
  int32_t Rank(std::string_view bytes) const {
    if (bytes.size() > 1) {
      const FirstPair& pair = first_pairs_[PairIndex(bytes)];
      if (bytes.size() == 2) return pair.rank;
      if (bytes.size() > pair.longest) return kNoRank;
    }
    const auto found = ranks_.find(Key(bytes));
    return found == ranks_.end() ? kNoRank : found->second;
  }

  // Empty for ids outside 0..size()-1.
  std::string_view Bytes(int32_t id) const;

  int32_t size() const { return static_cast<int32_t>(ends_.size()); }

 private:
  struct FirstPair {
    int32_t rank = kNoRank;  // of the two bytes themselves
    uint32_t longest = 0;    // bytes of the longest token that starts with them
  };
  Vocabulary() = default;

  // The packaged abseil's string_view is a type of its own, and the one that its maps can hash.
  static absl::string_view Key(std::string_view bytes) { return {bytes.data(), bytes.size()}; }
  static size_t PairIndex(std::string_view bytes) {
    return static_cast<size_t>(static_cast<uint8_t>(bytes[0])) << 8 |
           static_cast<uint8_t>(bytes[1]);
  }
  absl::Status AddLine(absl::string_view line, std::string* scratch);
  absl::Status IndexTokens(const std::string& path);

  std::vector<char> bytes_;     // all tokens, one after the other
  std::vector<uint32_t> ends_;  // [size()] where each token ends in bytes_
  absl::flat_hash_map<absl::string_view, int32_t> ranks_;
  std::vector<FirstPair> first_pairs_;  // [65536] spares most look-ups: merges start with two bytes
};

}  // namespace glimpse

#endif  // GLIMPSE_PREPROCESS_VOCABULARY_H_
