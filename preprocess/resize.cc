// A sum of weights x bytes must be exact in 32 bits, and SSE2, which every x86-64 has, multiplies
// only 16 bits at full speed. So a weight is split into high * 2^12 + low, both of which fit, and
// two neighbouring taps go into one multiply-add: their bytes interleaved and widened, their
// weights side by side. High and low sums are joined at the end; nothing is rounded before.
#include "preprocess/resize.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <utility>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "preprocess/check.h"

namespace glimpse {
namespace {

constexpr int kChannels = 3;
constexpr int kFractionBits = 22;
constexpr int kLowBits = 12;  // of a weight's 25 bits, so that both halves fit 16 with their sign

double BicubicWeight(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

// The weights of two neighbouring taps, each split: a lane of a multiply-add takes one pair.
struct WeightPair {
  int16_t high[2];
  int16_t low[2];
};

// Which inputs an output takes, and with which weights.
struct Taps {
  int first = 0;
  int count = 0;
};

struct Filter {
  std::vector<Taps> taps;         // [outputs]
  std::vector<int32_t> weights;   // [outputs, stride], 22 fraction bits, 0 past count
  std::vector<WeightPair> pairs;  // [outputs, stride / 2], the same weights
  int stride = 0;                 // even
};

int32_t ToFixedPoint(double weight) {
  const double scaled = weight * (1 << kFractionBits);
  return static_cast<int32_t>(weight < 0 ? scaled - 0.5 : scaled + 0.5);
}

WeightPair Split(const int32_t* weights) {
  WeightPair pair;
  for (int i = 0; i < 2; ++i) {
    pair.high[i] = static_cast<int16_t>(weights[i] >> kLowBits);
    pair.low[i] = static_cast<int16_t>(weights[i] & ((1 << kLowBits) - 1));
  }
  return pair;
}

Filter MakeFilter(int input_size, int output_size) {
  const double scale = static_cast<double>(input_size) / output_size;
  const double widening = std::max(scale, 1.0);
  const double support = 2.0 * widening;
  Filter filter;
  filter.stride = static_cast<int>(std::ceil(support)) * 2 + 2;
  filter.taps.resize(output_size);
  filter.weights.resize(size_t(output_size) * filter.stride);
  filter.pairs.reserve(filter.weights.size() / 2);
  std::vector<double> exact(filter.stride);
  for (int i = 0; i < output_size; ++i) {
    const double center = (i + 0.5) * scale;
    const int first = std::max(static_cast<int>(center - support + 0.5), 0);
    const int count = std::min(static_cast<int>(center + support + 0.5), input_size) - first;
    double sum = 0;
    for (int t = 0; t < count; ++t) {
      exact[t] = BicubicWeight((t + first - center + 0.5) * (1.0 / widening));
      sum += exact[t];
    }
    filter.taps[i] = {first, count};
    int32_t* weights = &filter.weights[size_t(i) * filter.stride];
    for (int t = 0; t < count; ++t) weights[t] = ToFixedPoint(sum != 0 ? exact[t] / sum : exact[t]);
    for (int t = 0; t < filter.stride; t += 2) filter.pairs.push_back(Split(weights + t));
  }
  return filter;
}

// sum over t of weights[t] * bytes[t * step], rounded and clipped to a byte.
uint8_t WeightedSum(const uint8_t* bytes, ptrdiff_t step, const int32_t* weights, int count) {
  int32_t sum = 1 << (kFractionBits - 1);
  for (int t = 0; t < count; ++t) sum += weights[t] * bytes[t * step];
  return static_cast<uint8_t>(std::clamp(sum >> kFractionBits, 0, 255));
}

#ifdef __SSE2__

// Four running sums.
struct Sums {
  __m128i high = _mm_setzero_si128();
  __m128i low = _mm_set1_epi32(1 << (kFractionBits - 1));  // starts with the rounding

  // bytes: [4] pairs of two taps' bytes, widened to 16 bits.
  void Add(__m128i bytes, __m128i high_weights, __m128i low_weights) {
    high = _mm_add_epi32(high, _mm_madd_epi16(bytes, high_weights));
    low = _mm_add_epi32(low, _mm_madd_epi16(bytes, low_weights));
  }

  // [4] int32, to be clipped by saturating packs.
  __m128i Rounded() const {
    return _mm_srai_epi32(_mm_add_epi32(_mm_slli_epi32(high, kLowBits), low), kFractionBits);
  }
};

__m128i PairInAllLanes(const int16_t (&pair)[2]) {
  int32_t lane;
  std::memcpy(&lane, pair, sizeof(lane));
  return _mm_set1_epi32(lane);
}

__m128i Load8(const uint8_t* bytes) {
  return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes));
}

__m128i Load16(const uint8_t* bytes) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes));
}

// One output pixel of a row; reads two bytes past the pixels of its taps, an even number of them.
void FilterPixel(const uint8_t* pixels, const WeightPair* weights, int pairs, uint8_t* out) {
  const __m128i zero = _mm_setzero_si128();
  Sums sums;
  for (int p = 0; p < pairs; ++p) {
    const __m128i two = Load8(pixels + p * 2 * kChannels);
    // R0 R1 G0 G1 B0 B1 and two bytes of no use.
    const __m128i pair = _mm_unpacklo_epi8(two, _mm_srli_si128(two, kChannels));
    sums.Add(_mm_unpacklo_epi8(pair, zero), PairInAllLanes(weights[p].high),
             PairInAllLanes(weights[p].low));
  }
  const __m128i words = _mm_packs_epi32(sums.Rounded(), zero);
  const int rgb = _mm_cvtsi128_si32(_mm_packus_epi16(words, zero));
  std::memcpy(out, &rgb, kChannels);
}

// The first bytes of an output row, 16 at a time; returns how many.
size_t FilterColumns(const uint8_t* input, size_t row_bytes, const Taps& taps,
                     const WeightPair* weights, uint8_t* out) {
  const __m128i zero = _mm_setzero_si128();
  size_t x = 0;
  for (; x + 16 <= row_bytes; x += 16) {
    Sums sums[4];
    for (int t = 0; t < taps.count; t += 2) {
      const uint8_t* upper = input + (taps.first + t) * row_bytes + x;
      // The second tap of an odd last pair has weight 0; any row that is there will do.
      const __m128i a = Load16(upper);
      const __m128i b = t + 1 < taps.count ? Load16(upper + row_bytes) : a;
      const __m128i high = PairInAllLanes(weights[t / 2].high);
      const __m128i low = PairInAllLanes(weights[t / 2].low);
      const __m128i left = _mm_unpacklo_epi8(a, b), right = _mm_unpackhi_epi8(a, b);
      sums[0].Add(_mm_unpacklo_epi8(left, zero), high, low);
      sums[1].Add(_mm_unpackhi_epi8(left, zero), high, low);
      sums[2].Add(_mm_unpacklo_epi8(right, zero), high, low);
      sums[3].Add(_mm_unpackhi_epi8(right, zero), high, low);
    }
    const __m128i left = _mm_packs_epi32(sums[0].Rounded(), sums[1].Rounded());
    const __m128i right = _mm_packs_epi32(sums[2].Rounded(), sums[3].Rounded());
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + x), _mm_packus_epi16(left, right));
  }
  return x;
}

#endif

void FilterRow(const uint8_t* row, [[maybe_unused]] int width, const Filter& filter, uint8_t* out) {
  for (size_t i = 0; i < filter.taps.size(); ++i, out += kChannels) {
    const Taps& taps = filter.taps[i];
    const uint8_t* pixels = row + size_t{kChannels} * taps.first;
#ifdef __SSE2__
    const int pairs = (taps.count + 1) / 2;
    if (taps.first + 2 * pairs < width) {
      FilterPixel(pixels, &filter.pairs[i * filter.stride / 2], pairs, out);
      continue;
    }
#endif
    for (int c = 0; c < kChannels; ++c) {
      out[c] = WeightedSum(pixels + c, kChannels, &filter.weights[i * filter.stride], taps.count);
    }
  }
}

// Rows first .. first + rows - 1 of the image, each filtered to `width`.
RgbImage ResizeRows(const RgbImage& image, int width, int first, int rows) {
  const Filter filter = MakeFilter(image.width, width);
  RgbImage out{width, rows, std::vector<uint8_t>(size_t{kChannels} * width * rows)};
  for (int y = 0; y < rows; ++y) {
    FilterRow(&image.pixels[size_t{kChannels} * image.width * (first + y)], image.width, filter,
              &out.pixels[size_t{kChannels} * width * y]);
  }
  return out;
}

// `skipped` rows of the picture that `filter` was made for are missing at the top of `image`.
RgbImage ResizeColumns(const RgbImage& image, const Filter& filter, int skipped) {
  const int height = static_cast<int>(filter.taps.size());
  const size_t row_bytes = size_t{kChannels} * image.width;
  RgbImage out{image.width, height, std::vector<uint8_t>(row_bytes * height)};
  for (int y = 0; y < height; ++y) {
    const Taps taps = {filter.taps[y].first - skipped, filter.taps[y].count};
    uint8_t* out_row = &out.pixels[row_bytes * y];
    size_t x = 0;
#ifdef __SSE2__
    x = FilterColumns(image.pixels.data(), row_bytes, taps, &filter.pairs[y * filter.stride / 2],
                      out_row);
#endif
    for (; x < row_bytes; ++x) {
      out_row[x] =
          WeightedSum(&image.pixels[row_bytes * taps.first + x], static_cast<ptrdiff_t>(row_bytes),
                      &filter.weights[size_t(y) * filter.stride], taps.count);
    }
  }
  return out;
}

}  // namespace

RgbImage ResizeBicubic(const RgbImage& image, int width, int height) {
  GLIMPSE_CHECK(image.width > 0 && image.height > 0 && width > 0 && height > 0, "empty image");
  GLIMPSE_CHECK(image.pixels.size() == size_t{kChannels} * image.width * image.height,
                "pixels do not fit the size");
  if (height == image.height) {
    return width == image.width ? image : ResizeRows(image, width, 0, height);
  }
  const Filter filter = MakeFilter(image.height, height);
  if (width == image.width) return ResizeColumns(image, filter, 0);
  const int fewer_rows = image.height - height, fewer_columns = image.width - width;
  if (fewer_rows > 0 && fewer_rows > 2 * fewer_columns) {
    return ResizeRows(ResizeColumns(image, filter, 0), width, 0, height);
  }
  // Only the rows that the second pass takes.
  const int first = filter.taps.front().first;
  const int end = filter.taps.back().first + filter.taps.back().count;
  return ResizeColumns(ResizeRows(image, width, first, end - first), filter, first);
}

}  // namespace glimpse
