#ifndef GLIMPSE_PREPROCESS_CEIL_DIV_H_
#define GLIMPSE_PREPROCESS_CEIL_DIV_H_

namespace glimpse {

// a / b, rounded up; a >= 0, b >= 1.
template <typename Int>
constexpr Int CeilDiv(Int a, Int b) {
  return (a + b - 1) / b;
}

}  // namespace glimpse

#endif  // GLIMPSE_PREPROCESS_CEIL_DIV_H_
