#include "preprocess/byte_pair.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <functional>
#include <limits>

#include "preprocess/check.h"

namespace glimpse {
namespace {

constexpr int32_t kNoRank = Vocabulary::kNoRank;

// The heap's list of parts, indexed by a part's first byte.
struct Part {
  uint32_t end;       // one past the part's last byte; the next part starts there
  uint32_t previous;  // first byte of the part before
  int32_t rank;       // of this part joined with the next; kNoRank if none or not a start any more
};

// A possible merge as one number that sorts by rank, then from the left.
uint64_t MergeKey(int32_t rank, size_t start) {
  return static_cast<uint64_t>(static_cast<uint32_t>(rank)) << 32 | start;
}

class HeapMerger {
 public:
  HeapMerger(const Vocabulary& vocabulary, std::string_view piece);
  void MergeAll();
  void AppendTo(std::vector<int32_t>* ids) const;

 private:
  int32_t JoinedRank(uint32_t start) const;
  void Update(uint32_t start);
  void Merge(uint32_t start);

  const Vocabulary& vocabulary_;
  const std::string_view piece_;
  std::vector<Part> parts_;     // [bytes of the piece]
  std::vector<uint64_t> heap_;  // smallest key first; may hold merges that are no longer possible
};

HeapMerger::HeapMerger(const Vocabulary& vocabulary, std::string_view piece)
    : vocabulary_(vocabulary), piece_(piece), parts_(piece.size()) {
  heap_.reserve(piece.size());
  for (uint32_t i = 0; i < piece.size(); ++i) {
    parts_[i] = {i + 1, i - 1, kNoRank};
    if (i + 1 < piece.size()) parts_[i].rank = vocabulary.Rank(piece.substr(i, 2));
    if (parts_[i].rank != kNoRank) heap_.push_back(MergeKey(parts_[i].rank, i));
  }
  std::make_heap(heap_.begin(), heap_.end(), std::greater<>());
}

void HeapMerger::MergeAll() {
  while (!heap_.empty()) {
    std::pop_heap(heap_.begin(), heap_.end(), std::greater<>());
    const uint64_t key = heap_.back();
    heap_.pop_back();
    const uint32_t start = static_cast<uint32_t>(key);
    // A rank names its bytes, so a part with this rank still means this very merge.
    if (parts_[start].rank == static_cast<int32_t>(key >> 32)) Merge(start);
  }
}

void HeapMerger::Merge(uint32_t start) {
  const uint32_t absorbed = parts_[start].end;
  parts_[start].end = parts_[absorbed].end;
  parts_[absorbed].rank = kNoRank;
  if (parts_[start].end < piece_.size()) parts_[parts_[start].end].previous = start;
  Update(start);
  if (start > 0) Update(parts_[start].previous);
}

int32_t HeapMerger::JoinedRank(uint32_t start) const {
  const uint32_t next = parts_[start].end;
  if (next == piece_.size()) return kNoRank;
  return vocabulary_.Rank(piece_.substr(start, parts_[next].end - start));
}

void HeapMerger::Update(uint32_t start) {
  const int32_t rank = JoinedRank(start);
  parts_[start].rank = rank;
  if (rank == kNoRank) return;
  heap_.push_back(MergeKey(rank, start));
  std::push_heap(heap_.begin(), heap_.end(), std::greater<>());
}

void HeapMerger::AppendTo(std::vector<int32_t>* ids) const {
  for (uint32_t start = 0; start < piece_.size(); start = parts_[start].end) {
    ids->push_back(vocabulary_.Rank(piece_.substr(start, parts_[start].end - start)));
  }
}

// The same list of parts, in arrays of a fixed size that need no allocation. The possible merges
// lie in keys_ at their part's first byte, so that the compiler can look for the smallest with
// vectors.
class ScanMerger {
 public:
  ScanMerger(const Vocabulary& vocabulary, std::string_view piece);
  void MergeAll();
  void AppendTo(std::vector<int32_t>* ids) const;

 private:
  static constexpr size_t kColumns = 16;
  static constexpr int32_t kNoKey = std::numeric_limits<int32_t>::max();
  static constexpr int kStartBits = 7;
  static_assert(kMaxScannedBytes <= 1 << kStartBits);
  static_assert(Vocabulary::kMaxTokens <= kNoKey >> kStartBits);
  static int32_t Key(int32_t rank, size_t start) {
    return rank == kNoRank ? kNoKey : rank << kStartBits | static_cast<int32_t>(start);
  }
  int32_t LowestKey() const;
  void Update(size_t start);

  const Vocabulary& vocabulary_;
  const std::string_view piece_;
  std::array<int32_t, kMaxScannedBytes> keys_;  // kNoKey from the piece's end to the next full row
  std::array<int32_t, kMaxScannedBytes> id_;    // of the part that starts here, unless a lone byte
  std::array<uint8_t, kMaxScannedBytes + 1> end_;
  std::array<uint8_t, kMaxScannedBytes + 1> previous_;
};

ScanMerger::ScanMerger(const Vocabulary& vocabulary, std::string_view piece)
    : vocabulary_(vocabulary), piece_(piece) {
  for (size_t i = 0; i < piece.size(); ++i) {
    end_[i] = static_cast<uint8_t>(i + 1);
    previous_[i] = static_cast<uint8_t>(i - 1);
    keys_[i] = i + 1 < piece.size() ? Key(vocabulary.Rank(piece.substr(i, 2)), i) : kNoKey;
  }
  for (size_t i = piece.size(); i % kColumns != 0; ++i) keys_[i] = kNoKey;
}

// Sixteen columns at a time: four vectors that do not wait for one another.
int32_t ScanMerger::LowestKey() const {
  std::array<int32_t, kColumns> lowest;
  std::copy_n(keys_.begin(), kColumns, lowest.begin());
  for (size_t row = kColumns; row < piece_.size(); row += kColumns) {
    for (size_t i = 0; i < kColumns; ++i) lowest[i] = std::min(lowest[i], keys_[row + i]);
  }
#pragma GCC unroll 4
  for (size_t half = kColumns / 2; half > 0; half /= 2) {
    for (size_t i = 0; i < half; ++i) lowest[i] = std::min(lowest[i], lowest[i + half]);
  }
  return lowest[0];
}

void ScanMerger::MergeAll() {
  while (true) {
    const int32_t lowest = LowestKey();
    if (lowest == kNoKey) return;
    const size_t start = static_cast<size_t>(lowest & ((1 << kStartBits) - 1));
    const size_t absorbed = end_[start];
    id_[start] = lowest >> kStartBits;
    keys_[absorbed] = kNoKey;
    end_[start] = end_[absorbed];
    previous_[end_[start]] = static_cast<uint8_t>(start);
    Update(start);
    if (start > 0) Update(previous_[start]);
  }
}

void ScanMerger::Update(size_t start) {
  const size_t next = end_[start];
  const bool last = next == piece_.size();
  keys_[start] =
      last ? kNoKey : Key(vocabulary_.Rank(piece_.substr(start, end_[next] - start)), start);
}

void ScanMerger::AppendTo(std::vector<int32_t>* ids) const {
  for (size_t start = 0; start < piece_.size(); start = end_[start]) {
    const bool lone_byte = end_[start] == start + 1;
    ids->push_back(lone_byte ? vocabulary_.Rank(piece_.substr(start, 1)) : id_[start]);
  }
}

}  // namespace

void AppendIds(const Vocabulary& vocabulary, std::string_view piece, std::vector<int32_t>* ids) {
  const int32_t whole = vocabulary.Rank(piece);
  if (whole != kNoRank) {
    ids->push_back(whole);
  } else if (piece.size() <= kMaxScannedBytes) {
    MergeByScan(vocabulary, piece, ids);
  } else {
    MergeByHeap(vocabulary, piece, ids);
  }
}

void MergeByScan(const Vocabulary& vocabulary, std::string_view piece, std::vector<int32_t>* ids) {
  GLIMPSE_CHECK(piece.size() <= kMaxScannedBytes, "too long for the scan");
  ScanMerger merger(vocabulary, piece);
  merger.MergeAll();
  merger.AppendTo(ids);
}

void MergeByHeap(const Vocabulary& vocabulary, std::string_view piece, std::vector<int32_t>* ids) {
  GLIMPSE_CHECK(piece.size() <= kMaxMergedBytes, "longer than 32-bit positions allow");
  HeapMerger merger(vocabulary, piece);
  merger.MergeAll();
  merger.AppendTo(ids);
}

}  // namespace glimpse
