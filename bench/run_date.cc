#include "bench/run_date.h"

#include <cstdlib>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace glimpse::bench {

std::string RunDate() {
  return absl::FormatTime("%Y-%m-%d %H:%M UTC", absl::Now(), absl::UTCTimeZone());
}

std::string RunCommit() {
  const char* commit = std::getenv("GLIMPSE_COMMIT");
  return commit == nullptr ? "unknown" : commit;
}

}  // namespace glimpse::bench
