// The bits of a slot against the obvious loop.
#include "engine/kernels/kernels.h"
#include "tests/kernels/kernel_test.h"

namespace glimpse {
namespace {

TEST_CASE("StartSlot sets the prompt's bits and no others", "[gpu]") {
  const int vocabulary = GENERATE(1, 32, 33, 5001, 151552);
  const int count = GENERATE(1, 8, 2500);
  std::mt19937 random(count);
  std::vector<int32_t> prompt(count);
  // A quarter lies outside the vocabulary, as a picture's rows do.
  for (int32_t& id : prompt)
    id = static_cast<int32_t>(random() % (vocabulary * 4u / 3 + 1)) - vocabulary / 6;
  const size_t words = kernels::SeenWords(vocabulary);
  std::vector<uint32_t> expected(words);
  for (const int32_t id : prompt) {
    if (id >= 0 && id < vocabulary) expected[id / 32] |= 1u << id % 32;
  }
  const DeviceArray<int32_t> device_prompt(prompt);
  const DeviceArray<uint32_t> seen(words);
  kernels::StartSlot args;
  args.prompt = device_prompt.data();
  args.count = count;
  args.seen = seen.data();
  args.vocabulary = vocabulary;
  Launch(args, nullptr);
  CHECK(seen.ToHost() == expected);
}

TEST_CASE("StartSlot without a prompt forgets what was seen", "[gpu]") {
  const DeviceArray<uint32_t> seen(3);
  kernels::StartSlot args;
  args.seen = seen.data();
  args.vocabulary = 70;
  Launch(args, nullptr);
  CHECK(seen.ToHost() == std::vector<uint32_t>(3, 0));
}

}  // namespace
}  // namespace glimpse
