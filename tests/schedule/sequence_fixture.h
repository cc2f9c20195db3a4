// What the tests of a sequence share: limits, a pool of ten blocks of four rows, a client.
#ifndef GLIMPSE_TESTS_SCHEDULE_SEQUENCE_FIXTURE_H_
#define GLIMPSE_TESTS_SCHEDULE_SEQUENCE_FIXTURE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "engine/schedule/sequence.h"
#include "tests/schedule/recording_sink.h"

namespace glimpse {

inline ModelLimits SequenceLimits() {
  ModelLimits limits;
  limits.vocabulary_size = 100;
  limits.max_context = 32;
  limits.image_rows = 6;
  limits.vision_layers = 2;
  limits.stop_ids = {2, 3};
  limits.max_batch_size = 4;
  limits.block_size = 4;
  limits.num_blocks = 10;
  return limits;
}

struct SequenceFixture {
  Sequence Start(std::unique_ptr<Request> request) {
    auto blocks = pool.Allocate(static_cast<int>(KvBlocksNeeded(*request, limits)));
    return Sequence(5, 1, *std::move(blocks), std::move(request), &limits);
  }
  // Feeds all rows that are left and accepts `id`.
  static std::optional<FinishReason> Step(Sequence& sequence, int32_t id, int64_t ms = 0) {
    sequence.Advance(sequence.NextRow(100));
    return sequence.Accept(SampledToken{id, 0, {}}, AtMs(ms));
  }

  ModelLimits limits = SequenceLimits();
  BlockPool pool{10};
  TestClient client;
};

}  // namespace glimpse

#endif  // GLIMPSE_TESTS_SCHEDULE_SEQUENCE_FIXTURE_H_
