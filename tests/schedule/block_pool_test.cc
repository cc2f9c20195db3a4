#include "engine/schedule/block_pool.h"

#include <catch2/catch.hpp>
#include <cstring>
#include <new>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "tests/schedule/death.h"

namespace glimpse {
namespace {

TEST_CASE("A pool hands out each block once and takes it back when its handle ends") {
  BlockPool pool(3);
  {
    auto blocks = pool.Allocate(3);
    REQUIRE(blocks.has_value());
    std::set<int32_t> ids;
    for (const BlockHandle& block : *blocks) ids.insert(block.id());
    CHECK(ids == std::set<int32_t>{0, 1, 2});
    CHECK(pool.num_free() == 0);
  }
  CHECK(pool.num_free() == 3);
  CHECK(pool.num_blocks() == 3);
}

TEST_CASE("A pool gives all the blocks asked for or none") {
  BlockPool pool(3);
  auto two = pool.Allocate(2);
  CHECK_FALSE(pool.Allocate(2).has_value());
  CHECK(pool.num_free() == 1);
  CHECK(pool.Allocate(1).has_value());
  auto none = pool.Allocate(0);
  REQUIRE(none.has_value());
  CHECK(none->empty());
}

TEST_CASE("A handle that was moved from gives nothing back") {
  BlockPool pool(2);
  std::vector<BlockHandle> blocks = *pool.Allocate(1);
  const int32_t id = blocks[0].id();
  {
    BlockHandle moved = std::move(blocks[0]);
    CHECK(moved.id() == id);
    CHECK(blocks[0].id() == -1);
    blocks.clear();
    CHECK(pool.num_free() == 1);
  }
  CHECK(pool.num_free() == 2);
}

TEST_CASE("Giving a block back twice dies") {
  const auto give_back_twice = [] {
    BlockPool pool(2);
    // The second block is never given back, so that the pool's count of free blocks looks right.
    auto* blocks = new std::vector<BlockHandle>(*pool.Allocate(2));
    alignas(BlockHandle) unsigned char copy[sizeof(BlockHandle)];
    std::memcpy(copy, static_cast<const void*>(&blocks->back()), sizeof(copy));
    blocks->pop_back();
    std::launder(reinterpret_cast<BlockHandle*>(copy))->~BlockHandle();
  };
  CHECK(Dies(give_back_twice));
  CHECK_FALSE(Dies([] { BlockPool(1).Allocate(1); }));
}

TEST_CASE("A block that outlives its pool dies") {
  CHECK(Dies([] {
    std::vector<BlockHandle> blocks;
    BlockPool pool(1);
    blocks = *pool.Allocate(1);
  }));
}

TEST_CASE("A pool behaves like a set of free ids") {
  std::mt19937 random(1);
  BlockPool pool(17);
  std::set<int32_t> free;
  for (int32_t id = 0; id < 17; ++id) free.insert(id);
  std::vector<std::vector<BlockHandle>> held;
  for (int step = 0; step < 20000; ++step) {
    if (random() % 2 == 0) {
      const int count = static_cast<int>(random() % 8);
      auto blocks = pool.Allocate(count);
      REQUIRE(blocks.has_value() == (count <= static_cast<int>(free.size())));
      if (!blocks) continue;
      REQUIRE(static_cast<int>(blocks->size()) == count);
      for (const BlockHandle& block : *blocks) REQUIRE(free.erase(block.id()) == 1);
      held.push_back(*std::move(blocks));
    } else if (!held.empty()) {
      std::swap(held[random() % held.size()], held.back());
      for (const BlockHandle& block : held.back()) free.insert(block.id());
      held.pop_back();
    }
    REQUIRE(pool.num_free() == static_cast<int>(free.size()));
  }
}

}  // namespace
}  // namespace glimpse
