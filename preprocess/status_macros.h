// Early return of a non-OK absl::Status, as in Google's own code; the packaged abseil has no such
// macros.
#ifndef GLIMPSE_PREPROCESS_STATUS_MACROS_H_
#define GLIMPSE_PREPROCESS_STATUS_MACROS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define GLIMPSE_RETURN_IF_ERROR(expression)                                           \
  do {                                                                                \
    if (absl::Status status_macro_result = (expression); !status_macro_result.ok()) { \
      return status_macro_result;                                                     \
    }                                                                                 \
  } while (false)

#define GLIMPSE_STATUS_CONCAT_INNER(a, b) a##b
#define GLIMPSE_STATUS_CONCAT(a, b) GLIMPSE_STATUS_CONCAT_INNER(a, b)

// GLIMPSE_ASSIGN_OR_RETURN(auto value, FunctionReturningStatusOr());
#define GLIMPSE_ASSIGN_OR_RETURN(declaration, expression)                                  \
  GLIMPSE_ASSIGN_OR_RETURN_INNER(GLIMPSE_STATUS_CONCAT(status_or_, __LINE__), declaration, \
                                 expression)

#define GLIMPSE_ASSIGN_OR_RETURN_INNER(result, declaration, expression) \
  auto result = (expression);                                           \
  if (!result.ok()) return std::move(result).status();                  \
  declaration = *std::move(result)

#endif  // GLIMPSE_PREPROCESS_STATUS_MACROS_H_
