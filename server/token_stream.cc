#include "server/token_stream.h"

#include <utility>

#include "preprocess/check.h"
#include "preprocess/fail_point.h"
#include "server/status.h"

namespace glimpse {
namespace {

// The most memory that a piece of the pending delta can take: protobuf's strings and arrays double
// when they are full, and then the old half is there beside the new whole. That is also room for
// the delta's serialised form beside it.
constexpr int64_t kGrowth = 3;
constexpr int64_t kBytesPerToken = kGrowth * sizeof(int32_t);
// Each log-probability is an object of its own, with what malloc adds and a place in an array.
constexpr int64_t kMallocBytes = 16;
constexpr int64_t kBytesPerLogprobs =
    sizeof(v1::TokenLogprobs) + 2 * kMallocBytes + kGrowth * sizeof(void*);
constexpr int64_t kBytesPerAlternative = sizeof(v1::Alternative) + kMallocBytes + sizeof(void*);

v1::FinishReason ToProto(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return v1::FINISH_REASON_STOP;
    case FinishReason::kLength:
      return v1::FINISH_REASON_LENGTH;
    case FinishReason::kStopString:
      return v1::FINISH_REASON_STOP_STRING;
  }
  return v1::FINISH_REASON_UNSPECIFIED;
}

void SetDuration(absl::Duration duration, google::protobuf::Duration* proto) {
  proto->set_seconds(absl::IDivDuration(duration, absl::Seconds(1), &duration));
  proto->set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(duration)));
}

}  // namespace

v1::Timing ToTiming(const StageTimes& times) {
  v1::Timing timing;
  const auto set = [](absl::Time from, absl::Time to, google::protobuf::Duration* proto) {
    SetDuration(to - from, proto);
  };
  if (Happened(times.enqueued)) set(times.arrived, times.enqueued, timing.mutable_preprocess());
  if (Happened(times.admitted)) set(times.enqueued, times.admitted, timing.mutable_queue());
  if (Happened(times.encoded)) set(times.admitted, times.encoded, timing.mutable_vision());
  if (Happened(times.first_token)) {
    set(times.prefill_began(), times.first_token, timing.mutable_prefill());
    set(times.arrived, times.first_token, timing.mutable_time_to_first_token());
    if (Happened(times.finished)) set(times.first_token, times.finished, timing.mutable_decode());
  }
  if (Happened(times.finished)) set(times.arrived, times.finished, timing.mutable_total());
  return timing;
}

class TokenStream::Sink : public TokenSink {
 public:
  explicit Sink(TokenStream* stream) : stream_(stream) {}
  bool Push(const SampledToken& token) override { return stream_->Push(token); }
  void Finish(const absl::Status& status, const Completion& completion) override {
    stream_->Finish(status, completion);
  }
  bool Gone() const override { return stream_->gone(); }

 private:
  TokenStream* const stream_;
};

TokenStream::TokenStream(TokenStreamOptions options, const Tokenizer& tokenizer,
                         std::function<void()> on_ready)
    : options_(std::move(options)),
      on_ready_(std::move(on_ready)),
      detokenizer_(tokenizer),
      matcher_(options_.stop_strings) {}

void TokenStream::Start(const v1::Started& started) {
  MutexLock lock(&mutex_);
  started_ = started;
  finished_.mutable_usage()->set_prompt_tokens(started.prompt_tokens());
  finished_.mutable_usage()->set_image_tokens(started.image_tokens());
}

std::unique_ptr<TokenSink> TokenStream::MakeSink() { return std::make_unique<Sink>(this); }

bool TokenStream::Push(const SampledToken& token) {
  const std::string text = Detokenize(token.id);
  bool notify = false;
  {
    MutexLock lock(&mutex_);
    if (client_left_ || reader_too_slow_) return true;  // the scheduler asks Gone
    Append(&token, text);
    notify = std::exchange(reader_waits_, false);
  }
  GLIMPSE_FAIL_POINT(kNotify).IgnoreError();
  if (notify) on_ready_();
  return !matcher_.matched();
}

void TokenStream::Finish(const absl::Status& status, const Completion& completion) {
  const std::string text = status.ok() ? FinishText() : "";
  bool notify = false;
  {
    MutexLock lock(&mutex_);
    GLIMPSE_CHECK(!end_.has_value(), "a stream finishes once");
    if (!text.empty()) Append(nullptr, text);
    finished_.set_reason(ToProto(completion.reason));
    finished_.mutable_usage()->set_completion_tokens(completion.completion_tokens);
    *finished_.mutable_timing() = ToTiming(completion.times);
    end_ = status;
    notify = std::exchange(reader_waits_, false);
  }
  GLIMPSE_FAIL_POINT(kNotify).IgnoreError();
  // A reader that did not wait may have fetched the end and destroyed the stream by now; one that
  // waits is sure to be there.
  if (notify) on_ready_();
}

StreamEvent TokenStream::Take() {
  GLIMPSE_FAIL_POINT(kWrite).IgnoreError();
  MutexLock lock(&mutex_);
  taken_bytes_ = 0;
  StreamEvent event;
  const bool failed = client_left_ || reader_too_slow_ || (end_.has_value() && !end_->ok());
  if (!failed && started_.has_value()) {
    *event.message.mutable_started() = *std::move(started_);
    started_.reset();
    event.kind = StreamEvent::Kind::kMessage;
  } else if (!failed && pending_bytes_ > 0) {
    pending_.Swap(event.message.mutable_delta());
    pending_bytes_ = 0;
    taken_bytes_ = static_cast<int64_t>(event.message.ByteSizeLong());
    event.kind = StreamEvent::Kind::kMessage;
  } else if (end_.has_value()) {
    return TakeEnd();
  } else {
    reader_waits_ = true;
  }
  return event;
}

StreamEvent TokenStream::TakeEnd() {
  StreamEvent event;
  const absl::Status status = reader_too_slow_ ? SlowReaderError() : *end_;
  if (status.ok()) {
    event.kind = StreamEvent::Kind::kLast;
    *event.message.mutable_finished() = std::move(finished_);
  } else {
    event.kind = StreamEvent::Kind::kError;
    event.status = status;
  }
  return event;
}

void TokenStream::MarkGone() {
  MutexLock lock(&mutex_);
  client_left_ = true;
}

void TokenStream::MarkTooSlow() {
  MutexLock lock(&mutex_);
  GiveUp();
}

bool TokenStream::gone() const {
  MutexLock lock(&mutex_);
  return client_left_ || reader_too_slow_;
}

std::string TokenStream::Detokenize(int32_t id) {
  return matcher_.Push(WithoutLeadingNewline(detokenizer_.Push(id)));
}

std::string TokenStream::FinishText() {
  std::string text = matcher_.Push(WithoutLeadingNewline(detokenizer_.Finish()));
  return text + matcher_.Finish();
}

// The model begins every answer with a newline that belongs to the chat's form, not to the answer.
std::string TokenStream::WithoutLeadingNewline(std::string text) {
  if (text.empty() || text_began_) return text;
  text_began_ = true;
  if (text.front() == '\n') text.erase(0, 1);
  return text;
}

void TokenStream::Append(const SampledToken* token, const std::string& text) {
  pending_.mutable_text()->append(text);
  pending_bytes_ += kGrowth * static_cast<int64_t>(text.size());
  if (token != nullptr) {
    pending_.add_token_ids(token->id);
    pending_bytes_ += kBytesPerToken;
  }
  if (token != nullptr && options_.with_logprobs) {
    v1::TokenLogprobs* logprobs = pending_.add_logprobs();
    logprobs->set_logprob(token->logprob);
    logprobs->mutable_alternatives()->Reserve(static_cast<int>(token->top.size()));
    for (const TokenLogprob& alternative : token->top) {
      v1::Alternative* added = logprobs->add_alternatives();
      added->set_token_id(alternative.id);
      added->set_logprob(alternative.logprob);
    }
    pending_bytes_ +=
        kBytesPerLogprobs + kBytesPerAlternative * static_cast<int64_t>(token->top.size());
  }
  if (pending_bytes_ + taken_bytes_ > options_.max_bytes) GiveUp();
}

void TokenStream::GiveUp() {
  reader_too_slow_ = true;
  v1::Delta().Swap(&pending_);  // Clear would keep the memory
  pending_bytes_ = 0;
}

}  // namespace glimpse
