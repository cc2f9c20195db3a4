#include "preprocess/byte_pair.h"

#include <catch2/catch.hpp>
#include <random>
#include <set>

#include "tests/preprocess/tokenizer_fixture.h"

namespace glimpse {
namespace {

Vocabulary LoadVocabulary(const std::vector<std::string>& tokens) {
  const TemporaryDirectory directory;
  WriteFile(directory.path() + "/tokenizer.model", VocabularyOf(tokens));
  return Vocabulary::Load(directory.path() + "/tokenizer.model").value();
}

// The definition, word for word.
std::vector<int32_t> MergeNaively(const Vocabulary& vocabulary, std::string_view piece) {
  std::vector<std::string> parts;
  for (const char byte : piece) parts.emplace_back(1, byte);
  while (true) {
    int32_t lowest = Vocabulary::kNoRank;
    size_t where = 0;
    for (size_t i = 0; i + 1 < parts.size(); ++i) {
      const int32_t rank = vocabulary.Rank(parts[i] + parts[i + 1]);
      if (rank >= lowest) continue;
      lowest = rank;
      where = i;
    }
    if (lowest == Vocabulary::kNoRank) break;
    parts[where] += parts[where + 1];
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(where) + 1);
  }
  std::vector<int32_t> ids;
  for (const std::string& part : parts) ids.push_back(vocabulary.Rank(part));
  return ids;
}

std::string RandomWord(std::mt19937* random, int letters, size_t length) {
  std::string word;
  for (size_t i = 0; i < length; ++i) {
    word += static_cast<char>('a' + static_cast<int>((*random)() % static_cast<uint32_t>(letters)));
  }
  return word;
}

// Random words of up to 6 letters from a small alphabet: many overlap, and unlike in a learnt
// vocabulary a longer token may come before its parts.
Vocabulary RandomVocabulary(std::mt19937* random) {
  std::vector<std::string> tokens = AllBytes();
  std::set<std::string> seen(tokens.begin(), tokens.end());
  while (tokens.size() < 400) {
    const std::string word = RandomWord(random, 3, 2 + (*random)() % 5);
    if (seen.insert(word).second) tokens.push_back(word);
  }
  return LoadVocabulary(tokens);
}

TEST_CASE("the lowest rank is merged first, and the leftmost of equals") {
  std::vector<std::string> tokens = AllBytes();
  tokens.insert(tokens.end(), {"bc", "ab", "aa", "abc"});
  const Vocabulary vocabulary = LoadVocabulary(tokens);
  std::vector<int32_t> ids;
  MergeByScan(vocabulary, "abcaaa", &ids);
  CHECK(ids == std::vector<int32_t>{259, 258, 'a'});  // bc, then a + bc; aa from the left
}

TEST_CASE("a piece that is a token is that token, even if merging can't reach it") {
  std::vector<std::string> tokens = AllBytes();
  tokens.push_back("wxyz");
  const Vocabulary vocabulary = LoadVocabulary(tokens);
  std::vector<int32_t> ids;
  AppendIds(vocabulary, "wxyz", &ids);
  AppendIds(vocabulary, "wxyzz", &ids);
  CHECK(ids == std::vector<int32_t>{256, 'w', 'x', 'y', 'z', 'z'});
}

TEST_CASE("scan and heap merge as the definition says") {
  std::mt19937 random(3);
  for (int round = 0; round < 20; ++round) {
    const Vocabulary vocabulary = RandomVocabulary(&random);
    for (int word = 0; word < 40; ++word) {
      const std::string piece = RandomWord(&random, 4, 1 + random() % kMaxScannedBytes);
      INFO(piece);
      const std::vector<int32_t> expected = MergeNaively(vocabulary, piece);
      std::vector<int32_t> scanned, heaped;
      MergeByScan(vocabulary, piece, &scanned);
      MergeByHeap(vocabulary, piece, &heaped);
      REQUIRE(scanned == expected);
      REQUIRE(heaped == expected);
    }
  }
}

TEST_CASE("pieces around and above the scan's limit merge as the definition says") {
  std::mt19937 random(4);
  const Vocabulary vocabulary = RandomVocabulary(&random);
  for (const size_t length : {15, 16, 17, 127, 128, 129, 130, 1000}) {
    const std::string piece = RandomWord(&random, 3, length);
    std::vector<int32_t> ids;
    AppendIds(vocabulary, piece, &ids);
    CHECK(ids == MergeNaively(vocabulary, piece));
  }
}

}  // namespace
}  // namespace glimpse
