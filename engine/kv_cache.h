// Keys and values of every running sequence, in blocks of `block_size` rows (a row is one token).
// Which block belongs to whom is the scheduler's business (BlockPool): here they are row numbers.
//
// Two blocks are added behind the last. One has two rows of its own: the zero row, which is read
// where a sequence has no token and is never written, and the trash row, which padding tokens write
// to. So a row that belongs to nobody can hold anything, even NaN, and reaches no answer. The other
// is for trying a step out while the rest belongs to sequences.
//
// Serving thread alone. Memory is taken in the constructor and never after.
#ifndef GLIMPSE_ENGINE_KV_CACHE_H_
#define GLIMPSE_ENGINE_KV_CACHE_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "engine/config.h"

namespace glimpse {

class KvCache {
 public:
  static constexpr int kExtraBlocks = 2;  // behind the sequences', see above

  // `options` has the device and the type. block_size >= 2. Throws c10::OutOfMemoryError.
  KvCache(const LanguageConfig& config, int num_blocks, int block_size,
          const at::TensorOptions& options);

  // Bytes of one block over all layers, keys and values.
  static int64_t BlockBytes(const LanguageConfig& config, int block_size, int64_t element_size);

  int num_blocks() const { return num_blocks_; }
  int block_size() const { return block_size_; }
  int64_t bytes() const;

  // The row of a sequence's token `index`, given its blocks in order.
  int64_t RowOf(const std::vector<int32_t>& blocks, int64_t index) const;
  int64_t ZeroRow() const { return int64_t{num_blocks_} * block_size_; }
  int64_t TrashRow() const { return ZeroRow() + 1; }
  int TrialBlock() const { return num_blocks_ + 1; }

  // block_table [batch, blocks] int64, lengths [batch] int64 -> [batch, longest] int64: the rows of
  // each sequence's tokens in order, the zero row from its length on.
  at::Tensor Rows(const at::Tensor& block_table, const at::Tensor& lengths, int64_t longest) const;

  // rows [tokens] int64; k, v [tokens, kv_heads, head_size].
  void Write(int layer, const at::Tensor& rows, const at::Tensor& k, const at::Tensor& v);

  // A layer's memory: [Rows of all blocks, kv_heads, head_size].
  const at::Tensor& keys(int layer) const { return keys_[layer]; }
  const at::Tensor& values(int layer) const { return values_[layer]; }

  // rows [batch, length] int64 -> [batch, kv_heads, length, head_size].
  at::Tensor Keys(int layer, const at::Tensor& rows) const;
  at::Tensor Values(int layer, const at::Tensor& rows) const;

 private:
  const int num_blocks_;
  const int block_size_;
  std::vector<at::Tensor>
      keys_;  // a layer: [(blocks + kExtraBlocks) * block_size, kv_heads, head_size]
  std::vector<at::Tensor> values_;  // the same
};

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_KV_CACHE_H_
