// Hands out the ids of KV blocks, 0..num_blocks-1. Knows no device memory and no sequence.
//
//   std::optional<std::vector<BlockHandle>> blocks = pool.Allocate(3);
//   if (!blocks) ...  // fewer than 3 are free: nothing was taken
//
// Used by the serving thread alone. The pool outlives its handles. Giving a block back twice, or
// ending the pool while a block is out, is a fault of our own code and dies.
#ifndef GLIMPSE_ENGINE_SCHEDULE_BLOCK_POOL_H_
#define GLIMPSE_ENGINE_SCHEDULE_BLOCK_POOL_H_

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace glimpse {

class BlockPool;

// One block; gives itself back when it ends. Empty after it was moved from.
class BlockHandle {
 public:
  BlockHandle(BlockHandle&& other) noexcept
      : pool_(std::exchange(other.pool_, nullptr)), id_(std::exchange(other.id_, -1)) {}
  BlockHandle& operator=(BlockHandle&& other) noexcept {
    std::swap(pool_, other.pool_);
    std::swap(id_, other.id_);
    return *this;
  }
  ~BlockHandle();

  int32_t id() const { return id_; }

 private:
  friend class BlockPool;
  BlockHandle(BlockPool* pool, int32_t id) : pool_(pool), id_(id) {}

  BlockPool* pool_;
  int32_t id_;
};

class BlockPool {
 public:
  explicit BlockPool(int num_blocks);
  ~BlockPool();
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;

  // All `count` blocks, or nothing when fewer are free. O(count).
  std::optional<std::vector<BlockHandle>> Allocate(int count);

  int num_blocks() const { return static_cast<int>(is_free_.size()); }
  int num_free() const { return static_cast<int>(free_.size()); }

 private:
  friend class BlockHandle;
  void GiveBack(int32_t id);

  std::vector<int32_t> free_;  // a stack: the block given back last goes out first, still warm
  std::vector<bool> is_free_;  // by id; says what `free_` says
};

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_SCHEDULE_BLOCK_POOL_H_
