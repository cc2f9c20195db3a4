// What the scheduler itself costs: one Next and one Done, on the real clock, without an engine.
//
//   glimpse-schedule-bench
//
// prints a table: nanoseconds a step and a token, while 1 to 64 sequences decode and from none to
// 100,000 requests wait in the queue. A cost that grew with the queue would show in a column.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "absl/time/clock.h"
#include "engine/schedule/scheduler.h"

namespace glimpse {
namespace {

constexpr int kPrompt = 512;
constexpr int kAnswer = 4000;
constexpr int kWarmUp = 200;
constexpr int kRepeats = 9;  // of which the median counts
constexpr int kSteps = 400;

class Sink : public TokenSink {
 public:
  bool Push(const SampledToken&) override { return true; }
  void Finish(const absl::Status&, const Completion&) override {}
  bool Gone() const override { return false; }
};

SchedulerOptions Options(int rows) {
  SchedulerOptions options;
  options.limits.vocabulary_size = 1000;
  options.limits.max_context = 8192;
  options.limits.max_batch_size = rows;
  options.limits.block_size = 16;
  options.limits.num_blocks = rows * 512;
  return options;
}

void Push(RequestQueue* queue) {
  auto request = std::make_unique<Request>();
  request->prompt.assign(kPrompt, 7);
  request->max_tokens = kAnswer;
  request->deadline = absl::Now() + absl::Hours(1);
  request->sink = std::make_unique<Sink>();
  if (!queue->Push(request).ok()) std::abort();
}

void RunSteps(Scheduler* scheduler, int count) {
  for (int i = 0; i < count; ++i) {
    const StepPlan plan = scheduler->Next(absl::Now());
    const StepOutput output{std::vector<SampledToken>(plan.num_real_rows)};
    scheduler->Done(plan, output, absl::Now());
  }
}

double NanosecondsPerStep(int rows, int queued) {
  RequestQueueOptions bounds;
  bounds.max_requests = rows + queued;
  bounds.max_tokens = bounds.max_bytes = INT64_MAX;
  RequestQueue queue(bounds);
  Scheduler scheduler(Options(rows), &queue);
  for (int i = 0; i < rows + queued; ++i) Push(&queue);
  RunSteps(&scheduler, kWarmUp);
  std::vector<double> times;
  for (int i = 0; i < kRepeats; ++i) {
    const absl::Time begin = absl::Now();
    RunSteps(&scheduler, kSteps);
    times.push_back(absl::ToDoubleNanoseconds(absl::Now() - begin) / kSteps);
  }
  scheduler.AbortAll(absl::UnavailableError("over"), absl::Now());
  std::nth_element(times.begin(), times.begin() + kRepeats / 2, times.end());
  return times[kRepeats / 2];
}

int Main() {
  std::printf("%6s %8s %12s %13s\n", "rows", "queued", "ns a step", "ns a token");
  for (int rows : {1, 4, 16, 64}) {
    for (int queued : {0, 10, 1000, 100000}) {
      const double ns = NanosecondsPerStep(rows, queued);
      std::printf("%6d %8d %12.0f %13.0f\n", rows, queued, ns, ns / rows);
    }
  }
  return 0;
}

}  // namespace
}  // namespace glimpse

int main() { return glimpse::Main(); }
