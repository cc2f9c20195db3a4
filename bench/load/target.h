// The server under test, as it was before the test: what it serves, and how to write a prompt that
// has exactly so many tokens there.
#ifndef GLIMPSE_BENCH_LOAD_TARGET_H_
#define GLIMPSE_BENCH_LOAD_TARGET_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "bench/load/call_plan.h"
#include "bench/load/load_options.h"
#include "glimpse/v1/chat.grpc.pb.h"

namespace glimpse::bench {

// Immutable, safe for all threads.
class Target {
 public:
  // Waits until the server answers, at most 10 s, and asks it for the length of a few prompts.
  // UNAVAILABLE: it did not answer; INVALID_ARGUMENT: what the options ask for does not go with
  // this server; NOT_FOUND: a picture file.
  static absl::StatusOr<Target> Probe(const LoadOptions& options);

  v1::ChatRequest MakeRequest(const CallPlan& plan) const;

  const v1::GetModelResponse& model() const { return model_; }

 private:
  Target() = default;
  absl::Status LoadPictures(const LoadOptions& options);

  v1::GetModelResponse model_;
  std::string word_;      // each repetition is one token
  int other_tokens_ = 0;  // of a prompt without words: the chat's form
  std::optional<float> temperature_;
  std::vector<std::string> pictures_;  // sent in turn
};

// A connection of its own; gRPC would share one between channels of equal options. For a slow
// reader, it takes no more than 64 KiB of an answer that nobody has read.
std::shared_ptr<grpc::Channel> Connect(const std::string& server, bool slow_reader = false);

}  // namespace glimpse::bench

#endif  // GLIMPSE_BENCH_LOAD_TARGET_H_
