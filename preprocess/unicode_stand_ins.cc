#include "preprocess/unicode_stand_ins.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>

#include "preprocess/utf8.h"

namespace glimpse {
namespace {

enum Class { kLetter, kDigit, kNeither };

struct Range {
  uint32_t first;
  uint32_t last;
  Class correct;
};

constexpr Range kDifferences[] = {
    {0x180E, 0x180E, kNeither},  {0x1C89, 0x1C8A, kLetter},   {0xA7CB, 0xA7CD, kLetter},
    {0xA7DA, 0xA7DC, kLetter},   {0x105C0, 0x105F3, kLetter}, {0x10D40, 0x10D49, kDigit},
    {0x10D4A, 0x10D65, kLetter}, {0x10D6F, 0x10D85, kLetter}, {0x10EC2, 0x10EC4, kLetter},
    {0x1123F, 0x11240, kLetter}, {0x11380, 0x11389, kLetter}, {0x1138B, 0x1138B, kLetter},
    {0x1138E, 0x1138E, kLetter}, {0x11390, 0x113B5, kLetter}, {0x113B7, 0x113B7, kLetter},
    {0x113D1, 0x113D1, kLetter}, {0x113D3, 0x113D3, kLetter}, {0x116D0, 0x116E3, kDigit},
    {0x11BC0, 0x11BE0, kLetter}, {0x11BF0, 0x11BF9, kDigit},  {0x11F02, 0x11F02, kLetter},
    {0x11F04, 0x11F10, kLetter}, {0x11F12, 0x11F33, kLetter}, {0x11F50, 0x11F59, kDigit},
    {0x1342F, 0x1342F, kLetter}, {0x13441, 0x13446, kLetter}, {0x13460, 0x143FA, kLetter},
    {0x16100, 0x1611D, kLetter}, {0x16130, 0x16139, kDigit},  {0x16D40, 0x16D6C, kLetter},
    {0x16D70, 0x16D79, kDigit},  {0x18CFF, 0x18CFF, kLetter}, {0x1B132, 0x1B132, kLetter},
    {0x1B155, 0x1B155, kLetter}, {0x1CCF0, 0x1CCF9, kDigit},  {0x1D2C0, 0x1D2D3, kDigit},
    {0x1DF25, 0x1DF2A, kLetter}, {0x1E030, 0x1E06D, kLetter}, {0x1E4D0, 0x1E4EB, kLetter},
    {0x1E4F0, 0x1E4F9, kDigit},  {0x1E5D0, 0x1E5ED, kLetter}, {0x1E5F0, 0x1E5F0, kLetter},
    {0x1E5F1, 0x1E5FA, kDigit},  {0x2B739, 0x2B739, kLetter}, {0x2EBF0, 0x2EE5D, kLetter},
    {0x31350, 0x323AF, kLetter},
};

// Of three and of four bytes, by class: a CJK ideograph, a Tibetan or mathematical digit, a
// punctuation mark or a picture.
constexpr std::string_view kStandIns3[] = {"\u4E00", "\u0F20", "\u2030"};
constexpr std::string_view kStandIns4[] = {"\U00020000", "\U0001D7CE", "\U0001F600"};

// Every difference starts with one of these bytes: U+1xxx, U+Axxx, U+10000..U+3FFFF.
bool MayDiffer(char lead) { return lead == '\xE1' || lead == '\xEA' || lead == '\xF0'; }

uint32_t Decode(std::string_view character) {  // of three or four bytes
  uint32_t code = static_cast<uint8_t>(character[0]) & (character.size() == 3 ? 0x0F : 0x07);
  for (const char byte : character.substr(1))
    code = code << 6 | (static_cast<uint8_t>(byte) & 0x3F);
  return code;
}

const Range* FindDifference(uint32_t code) {
  const Range* range =
      std::lower_bound(std::begin(kDifferences), std::end(kDifferences), code,
                       [](const Range& range, uint32_t code) { return range.last < code; });
  return range != std::end(kDifferences) && range->first <= code ? range : nullptr;
}

}  // namespace

std::string WithStandIns(std::string_view text) {
  std::string copy;
  for (size_t at = 0; at < text.size(); ++at) {
    if (!MayDiffer(text[at])) continue;
    const std::string_view character = text.substr(at, ReadUtf8(text.substr(at)).length);
    const Range* difference = FindDifference(Decode(character));
    if (difference == nullptr) continue;
    if (copy.empty()) copy = text;
    const auto& stand_ins = character.size() == 3 ? kStandIns3 : kStandIns4;
    copy.replace(at, character.size(), stand_ins[difference->correct]);
  }
  return copy;
}

}  // namespace glimpse
