// One thread of a load test: sends its share of the calls and reads their answers, over one
// completion queue.
#ifndef GLIMPSE_BENCH_LOAD_WORKER_H_
#define GLIMPSE_BENCH_LOAD_WORKER_H_

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <unordered_map>
#include <vector>

#include "absl/time/time.h"
#include "bench/load/call.h"
#include "bench/load/load_options.h"
#include "bench/load/tally.h"
#include "bench/load/target.h"

namespace glimpse::bench {

// What all workers count together, for the progress line and the rates. Atomic each, and no two
// have to agree.
struct Counters {
  std::atomic<int64_t> next_number = 0;  // of the next call
  std::atomic<int64_t> running = 0;
  std::atomic<int64_t> completed = 0;  // with all of their answer
  std::atomic<int64_t> good = 0;       // of these, within the objectives
  std::atomic<int64_t> cancelled = 0;  // by this program
  std::atomic<int64_t> failed = 0;     // all others
  std::atomic<int64_t> wrong = 0;      // OK, but not with the tokens that were asked for
  std::atomic<int64_t> tokens = 0;
  std::atomic<int64_t> good_tokens = 0;  // of good calls
  std::atomic<int64_t> messages = 0;
};

class Worker {
 public:
  // Number `index` of options.threads. Everything given by reference outlives the worker.
  Worker(const LoadOptions& options, const Target& target, int index, absl::Time start,
         Counters* counters);

  // Returns when every call has ended.
  void Run();

  // After Run.
  const Tally& tally() const { return tally_; }

 private:
  void After(absl::Duration delay, std::function<void()> task);
  void RunTimers();
  void SendNext();
  void ArriveAt(absl::Time planned);
  void OnEvent(Call* call, bool ok);
  void OnMessage(Call* call);
  void OnEnd(Call* call);
  void CountEnd(const Call& call);
  void ReadNext(Call* call);
  void Cancel(Call* call);
  void CancelAll(bool slow_readers_only);
  void Stop();  // sending

  const LoadOptions& options_;
  const Target& target_;
  const int index_;
  const absl::Time start_;
  Counters* const counters_;

  std::mt19937_64 random_;                                     // the arrivals'
  std::vector<std::unique_ptr<v1::ChatService::Stub>> stubs_;  // one a connection
  std::unique_ptr<v1::ChatService::Stub> slow_stub_;           // the slow readers'
  grpc::CompletionQueue queue_;
  std::multimap<absl::Time, std::function<void()>> timers_;
  std::unordered_map<int64_t, std::unique_ptr<Call>> calls_;  // by number
  int64_t fast_calls_ = 0;                                    // of calls_: without slow readers
  bool stopped_ = false;
  absl::Time now_;  // of the event that is being handled
  Tally tally_;
};

}  // namespace glimpse::bench

#endif  // GLIMPSE_BENCH_LOAD_WORKER_H_
