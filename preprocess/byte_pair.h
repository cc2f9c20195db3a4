// Byte-pair merging of one piece of text. It starts from single bytes and, again and again, joins
// the neighbours whose joined bytes have the lowest rank (the leftmost of equals), until no
// neighbours form a token. Pure functions of their arguments: any thread.
#ifndef GLIMPSE_PREPROCESS_BYTE_PAIR_H_
#define GLIMPSE_PREPROCESS_BYTE_PAIR_H_

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "preprocess/vocabulary.h"

namespace glimpse {

inline constexpr size_t kMaxScannedBytes = 128;             // MergeByScan's limit
inline constexpr size_t kMaxMergedBytes = size_t{1} << 30;  // positions are 32 bit

// Appends the ids of `piece` (1..kMaxMergedBytes bytes) to `ids`: its own id if it is a token,
// otherwise the merged ones, by whichever of the two ways below suits its length.
void AppendIds(const Vocabulary& vocabulary, std::string_view piece, std::vector<int32_t>* ids);

// Looks at all neighbours for each merge: quadratic, and the fastest for a few dozen bytes.
// 1..kMaxScannedBytes bytes.
void MergeByScan(const Vocabulary& vocabulary, std::string_view piece, std::vector<int32_t>* ids);

// Keeps the possible merges in a heap: O(n log n). 1..kMaxMergedBytes bytes.
void MergeByHeap(const Vocabulary& vocabulary, std::string_view piece, std::vector<int32_t>* ids);

}  // namespace glimpse

#endif  // GLIMPSE_PREPROCESS_BYTE_PAIR_H_
