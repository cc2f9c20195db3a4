#include "server/progress.h"

#include <algorithm>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace glimpse {
namespace {

constexpr int kBarWidth = 30;
constexpr int kLogEveryPercent = 10;
constexpr double kMiB = 1 << 20;

int64_t Percent(int64_t done, int64_t total) {
  return total <= 0
             ? 100
             : static_cast<int64_t>(100.0 * static_cast<double>(done) / static_cast<double>(total));
}

}  // namespace

std::string ProgressText(int64_t done, int64_t total, absl::Duration elapsed) {
  const int64_t percent = Percent(done, total);
  const size_t filled =
      static_cast<size_t>(std::clamp<int64_t>(percent * kBarWidth / 100, 0, kBarWidth));
  std::string text = absl::StrCat("weights [", std::string(filled, '#'),
                                  std::string(kBarWidth - filled, ' '), "]");
  absl::StrAppendFormat(&text, " %3d %%  %.1f of %.1f MiB", percent,
                        static_cast<double>(done) / kMiB, static_cast<double>(total) / kMiB);
  const double seconds = absl::ToDoubleSeconds(elapsed);
  if (done > 0 && seconds > 0) {
    const double rate = static_cast<double>(done) / seconds;
    absl::StrAppendFormat(&text, "  %.2f GB/s  %.0f s left", rate / 1e9,
                          static_cast<double>(total - done) / rate);
  }
  return text;
}

Progress::Progress(const Clock* clock, bool is_terminal)
    : clock_(clock), is_terminal_(is_terminal), start_(clock->Now()) {}

void Progress::Update(int64_t done, int64_t total) {
  const int64_t percent = Percent(done, total);
  const int64_t step = is_terminal_ ? 1 : kLogEveryPercent;
  if (shown_percent_ >= 0 && percent / step == shown_percent_ / step) return;
  shown_percent_ = percent;
  const bool complete = done >= total;
  const char* end = !is_terminal_ || complete ? "\n" : "\r";
  std::fprintf(stderr, "%s%s", ProgressText(done, total, clock_->Now() - start_).c_str(), end);
}

}  // namespace glimpse
