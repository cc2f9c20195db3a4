// Stands before a request's own sink and times its tokens as the engine writes them.
#ifndef GLIMPSE_SERVER_METERED_SINK_H_
#define GLIMPSE_SERVER_METERED_SINK_H_

#include <memory>
#include <utility>

#include "absl/time/time.h"
#include "engine/schedule/clock.h"
#include "engine/schedule/token_sink.h"
#include "server/metrics.h"
#include "server/request_record.h"

namespace glimpse {

class MeteredSink : public TokenSink {
 public:
  // `metrics` may be null. `record` has its token counts, and lives until the inner sink's Finish;
  // it gets the completion before that. The others outlive this.
  MeteredSink(std::unique_ptr<TokenSink> inner, Metrics* metrics, const Clock* clock,
              RequestRecord* record)
      : inner_(std::move(inner)), metrics_(metrics), clock_(clock), record_(record) {}

  bool Push(const SampledToken& token) override {
    if (metrics_ != nullptr) Count(clock_->Now());
    return inner_->Push(token);
  }

  void Finish(const absl::Status& status, const Completion& completion) override {
    // The stop token, which was not pushed.
    if (metrics_ != nullptr && completion.completion_tokens > num_tokens_) {
      if (num_tokens_ == 0) BeginAnswer(completion.times.first_token);
      metrics_->completion_tokens.Increment(completion.completion_tokens - num_tokens_);
    }
    record_->completion = completion;
    inner_->Finish(status, completion);
  }

  bool Gone() const override { return inner_->Gone(); }

 private:
  void Count(absl::Time now) {
    if (num_tokens_++ == 0) {
      BeginAnswer(now);
    } else {
      metrics_->inter_token_latency_seconds.Observe(absl::ToDoubleSeconds(now - last_token_));
    }
    metrics_->completion_tokens.Increment();
    last_token_ = now;
  }

  void BeginAnswer(absl::Time first_token) {
    metrics_->time_to_first_token_seconds.Observe(
        absl::ToDoubleSeconds(first_token - record_->arrived));
    metrics_->prompt_tokens.Increment(record_->prompt_tokens - record_->image_tokens);
    metrics_->image_tokens.Increment(record_->image_tokens);
  }

  const std::unique_ptr<TokenSink> inner_;
  Metrics* const metrics_;
  const Clock* const clock_;
  RequestRecord* const record_;
  int num_tokens_ = 0;  // pushed
  absl::Time last_token_;
};

}  // namespace glimpse

#endif  // GLIMPSE_SERVER_METERED_SINK_H_
