#include "engine/kv_cache.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <catch2/catch.hpp>
#include <limits>

#include "tests/engine/engine_fixture.h"

namespace glimpse {
namespace {

const at::TensorOptions& Floats() {
  static const at::TensorOptions options =
      at::TensorOptions().dtype(at::kFloat).device(at::Device(TestDevice()));
  return options;
}

at::Tensor Longs(const std::vector<int64_t>& values) {
  return at::tensor(values, at::TensorOptions().dtype(at::kLong)).to(Floats().device());
}

LanguageConfig TwoHeads() {
  LanguageConfig config;
  config.num_layers = 2;
  config.num_kv_heads = 2;
  config.head_size = 4;
  return config;
}

// Two sequences, of 5 rows in the blocks {3, 0} and 2 rows in {2}, in a cache full of NaN.
KvCache FilledCache() {
  KvCache cache(TwoHeads(), /*num_blocks=*/4, /*block_size=*/4, Floats());
  const at::Tensor nan = at::full({16, 2, 4}, std::numeric_limits<float>::quiet_NaN(), Floats());
  std::vector<int64_t> rows;
  for (int64_t i = 0; i < 5; ++i) rows.push_back(cache.RowOf({3, 0}, i));
  for (int64_t i = 0; i < 2; ++i) rows.push_back(cache.RowOf({2}, i));
  const at::Tensor k = at::arange(7 * 8, Floats()).view({7, 2, 4});
  for (int layer = 0; layer < 2; ++layer) {
    cache.Write(layer, at::arange(16, Floats().dtype(at::kLong)), nan, nan);
    cache.Write(layer, Longs(rows), k + layer, -k - layer);
  }
  return cache;
}

TEST_CASE("a sequence's rows lie in its blocks, in order") {
  const KvCache cache(TwoHeads(), 4, 4, Floats());
  CHECK(cache.RowOf({3, 0}, 0) == 12);
  CHECK(cache.RowOf({3, 0}, 3) == 15);
  CHECK(cache.RowOf({3, 0}, 4) == 0);
  CHECK(KvCache::BlockBytes(TwoHeads(), 4, 4) == 2 * 2 * 4 * 8 * 4);
  CHECK(cache.bytes() == 6 * 512);  // two blocks more than the scheduler has
}

TEST_CASE("what was written comes back by sequence and layer, and zeros behind a sequence's end") {
  const KvCache cache = FilledCache();
  const at::Tensor rows = cache.Rows(Longs({3, 0, 2, 0}).view({2, 2}), Longs({5, 2}), 6);
  REQUIRE(rows.sizes() == at::IntArrayRef({2, 6}));
  const at::Tensor written = at::arange(7 * 8, Floats()).view({7, 2, 4});
  for (int layer = 0; layer < 2; ++layer) {
    const at::Tensor k = cache.Keys(layer, rows), v = cache.Values(layer, rows);
    REQUIRE(k.sizes() == at::IntArrayRef({2, 2, 6, 4}));
    const at::Tensor first = written.narrow(0, 0, 5).transpose(0, 1) + layer;
    const at::Tensor second = written.narrow(0, 5, 2).transpose(0, 1) + layer;
    CHECK(at::equal(k[0].narrow(1, 0, 5), first));
    CHECK(at::equal(v[0].narrow(1, 0, 5), -first));
    CHECK(at::equal(k[1].narrow(1, 0, 2), second));
    CHECK(at::equal(k[0].narrow(1, 5, 1), at::zeros({2, 1, 4}, Floats())));
    CHECK(at::equal(v[1].narrow(1, 2, 4), at::zeros({2, 4, 4}, Floats())));
  }
}

TEST_CASE("padding writes reach no sequence, nor the row read where there is no token") {
  KvCache cache = FilledCache();
  const at::Tensor table = Longs({3, 0, 2, 0}).view({2, 2}), lengths = Longs({5, 0});
  const at::Tensor rows = cache.Rows(table, lengths, 5);
  const at::Tensor before = cache.Keys(1, rows).clone();
  const at::Tensor noise = at::full({2, 2, 4}, 7.0, Floats());
  cache.Write(1, Longs({cache.TrashRow(), cache.TrashRow()}), noise, noise);
  CHECK(at::equal(cache.Keys(1, rows), before));
  CHECK(at::equal(before[1], at::zeros({2, 5, 4}, Floats())));  // a padding row, of length 0
}

}  // namespace
}  // namespace glimpse
