#include "engine/kv_cache.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/zeros.h>

#include "preprocess/check.h"

namespace glimpse {
namespace {

// rows_of_layer [cache rows, kv_heads, head], rows [batch, length] -> [batch, kv_heads, length,
// head].
at::Tensor Gather(const at::Tensor& rows_of_layer, const at::Tensor& rows) {
  return rows_of_layer.index_select(0, rows.flatten())
      .unflatten(0, {rows.size(0), rows.size(1)})
      .transpose(1, 2);
}

}  // namespace

KvCache::KvCache(const LanguageConfig& config, int num_blocks, int block_size,
                 const at::TensorOptions& options)
    : num_blocks_(num_blocks), block_size_(block_size) {
  GLIMPSE_CHECK(block_size >= 2, "the extra block needs a zero row and a trash row");
  const int64_t rows = (int64_t{num_blocks} + kExtraBlocks) * block_size;
  for (int layer = 0; layer < config.num_layers; ++layer) {
    keys_.push_back(at::zeros({rows, config.num_kv_heads, config.head_size}, options));
    values_.push_back(at::zeros({rows, config.num_kv_heads, config.head_size}, options));
  }
}

int64_t KvCache::BlockBytes(const LanguageConfig& config, int block_size, int64_t element_size) {
  return int64_t{2} * config.num_layers * block_size * config.KvSize() * element_size;
}

int64_t KvCache::bytes() const {
  int64_t sum = 0;
  for (const at::Tensor& keys : keys_) sum += 2 * static_cast<int64_t>(keys.nbytes());
  return sum;
}

int64_t KvCache::RowOf(const std::vector<int32_t>& blocks, int64_t index) const {
  const int64_t block = index / block_size_;
  GLIMPSE_CHECK(block < static_cast<int64_t>(blocks.size()), "a sequence has too few KV blocks");
  GLIMPSE_CHECK(blocks[block] >= 0 && blocks[block] < num_blocks_, "no such KV block");
  return int64_t{blocks[block]} * block_size_ + index % block_size_;
}

at::Tensor KvCache::Rows(const at::Tensor& block_table, const at::Tensor& lengths,
                         int64_t longest) const {
  const at::Tensor index = at::arange(longest, lengths.options());
  const at::Tensor block = index.div(block_size_, "floor");
  at::Tensor rows = block_table.index_select(1, block) * block_size_ + index.remainder(block_size_);
  return rows.masked_fill_(index >= lengths.unsqueeze(1), ZeroRow());
}

void KvCache::Write(int layer, const at::Tensor& rows, const at::Tensor& k, const at::Tensor& v) {
  keys_[layer].index_copy_(0, rows, k);
  values_[layer].index_copy_(0, rows, v);
}

at::Tensor KvCache::Keys(int layer, const at::Tensor& rows) const {
  return Gather(keys_[layer], rows);
}

at::Tensor KvCache::Values(int layer, const at::Tensor& rows) const {
  return Gather(values_[layer], rows);
}

}  // namespace glimpse
