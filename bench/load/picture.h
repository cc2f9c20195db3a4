// Pictures to send when the user has given none.
#ifndef GLIMPSE_BENCH_LOAD_PICTURE_H_
#define GLIMPSE_BENCH_LOAD_PICTURE_H_

#include <string>

namespace glimpse::bench {

// A PNG file of `side` x `side` pixels, 1 <= side <= 8192: coloured bands that differ with
// `number`.
std::string MakePng(int side, int number);

}  // namespace glimpse::bench

#endif  // GLIMPSE_BENCH_LOAD_PICTURE_H_
