// GLIMPSE_CHECK(condition, message): ends the process when our own code has broken an invariant.
// Never for what input, files or the outside can cause: those return absl::Status.
#ifndef GLIMPSE_PREPROCESS_CHECK_H_
#define GLIMPSE_PREPROCESS_CHECK_H_

#include <cstdio>
#include <cstdlib>

#define GLIMPSE_CHECK(condition, message)                                                   \
  do {                                                                                      \
    if (!(condition)) {                                                                     \
      std::fprintf(stderr, "%s:%d: check failed: %s: %s\n", __FILE__, __LINE__, #condition, \
                   message);                                                                \
      std::abort();                                                                         \
    }                                                                                       \
  } while (false)

#endif  // GLIMPSE_PREPROCESS_CHECK_H_
