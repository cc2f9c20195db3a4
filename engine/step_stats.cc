#include "engine/step_stats.h"

#include "absl/strings/str_format.h"

namespace glimpse {

std::string MemoryUse::DebugString() const {
  const auto gib = [](int64_t bytes) { return static_cast<double>(bytes) / (1 << 30); };
  return absl::StrFormat("weights %.2f, KV cache %.2f, graphs %.2f, workspace %.2f, free %.2f",
                         gib(weights), gib(kv_cache), gib(graphs), gib(workspace), gib(free));
}

}  // namespace glimpse
