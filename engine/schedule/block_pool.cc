#include "engine/schedule/block_pool.h"

#include "preprocess/check.h"

namespace glimpse {

BlockHandle::~BlockHandle() {
  if (pool_ != nullptr) pool_->GiveBack(id_);
}

BlockPool::BlockPool(int num_blocks) : is_free_(num_blocks, true) {
  free_.reserve(num_blocks);
  for (int32_t id = num_blocks - 1; id >= 0; --id) free_.push_back(id);
}

BlockPool::~BlockPool() { GLIMPSE_CHECK(num_free() == num_blocks(), "a block outlives its pool"); }

std::optional<std::vector<BlockHandle>> BlockPool::Allocate(int count) {
  GLIMPSE_CHECK(count >= 0, "a negative number of blocks");
  if (count > num_free()) return std::nullopt;
  std::vector<BlockHandle> blocks;
  blocks.reserve(count);
  for (int i = 0; i < count; ++i) {
    const int32_t id = free_.back();
    free_.pop_back();
    is_free_[id] = false;
    blocks.push_back(BlockHandle(this, id));
  }
  return blocks;
}

void BlockPool::GiveBack(int32_t id) {
  GLIMPSE_CHECK(!is_free_[id], "a block is given back twice");
  is_free_[id] = true;
  free_.push_back(id);
}

}  // namespace glimpse
