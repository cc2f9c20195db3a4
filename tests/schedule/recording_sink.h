// A client for tests: writes down what its sink is told. Outlives the request that it belongs to.
#ifndef GLIMPSE_TESTS_SCHEDULE_RECORDING_SINK_H_
#define GLIMPSE_TESTS_SCHEDULE_RECORDING_SINK_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "engine/schedule/request.h"
#include "engine/schedule/token_sink.h"

namespace glimpse {

struct TestClient {
  // What the test sets.
  bool gone = false;
  int wants_tokens = -1;  // Push answers false at this many; -1: takes all

  // What the sink has seen.
  std::vector<int32_t> ids;
  int num_finishes = 0;
  int calls_after_finish = 0;
  absl::Status status;
  Completion completion;
  mutable int64_t asked_gone = 0;

  bool finished() const { return num_finishes > 0; }
};

class RecordingSink : public TokenSink {
 public:
  explicit RecordingSink(TestClient* client) : client_(client) {}

  bool Push(const SampledToken& token) override {
    client_->calls_after_finish += client_->finished();
    client_->ids.push_back(token.id);
    return static_cast<int>(client_->ids.size()) != client_->wants_tokens;
  }

  void Finish(const absl::Status& status, const Completion& completion) override {
    ++client_->num_finishes;
    client_->status = status;
    client_->completion = completion;
  }

  bool Gone() const override {
    client_->calls_after_finish += client_->finished();
    ++client_->asked_gone;
    return client_->gone;
  }

 private:
  TestClient* client_;
};

// A greedy text request of `client`.
inline std::unique_ptr<Request> MakeRequest(TestClient* client, std::vector<int32_t> prompt,
                                            int max_tokens) {
  auto request = std::make_unique<Request>();
  request->prompt = std::move(prompt);
  request->max_tokens = max_tokens;
  request->sampling.temperature = 0;
  request->sink = std::make_unique<RecordingSink>(client);
  return request;
}

// Puts a 2x1 picture, coloured by `shade`, before the prompt's id number `at`.
inline void AddImage(Request* request, int at, uint8_t shade) {
  const auto position = request->prompt.begin() + at;
  request->prompt.insert(position, {90, 91, 92});
  request->image_at = at;
  request->image = RgbImage{2, 1, {shade, 1, 2, 3, 4, 5}};
}

inline absl::Time AtMs(int64_t ms) { return absl::UnixEpoch() + absl::Milliseconds(ms); }

}  // namespace glimpse

#endif  // GLIMPSE_TESTS_SCHEDULE_RECORDING_SINK_H_
