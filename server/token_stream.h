// The answer of one request on its way from the serving thread to its client.
//
// The serving thread is the writer, through TokenSink; the reader is the RPC's reactor. Between
// them lies at most one delta: what the reader has not fetched yet is put together, so a slow
// reader gets fewer and longer deltas, and the writer never waits. When that delta and the message
// that the reader fetched last could take more than `max_bytes` of memory, the stream gives up on
// the reader: it lets go of what waits, `Gone` says true, and the end is SLOW_READER.
//
// Reading: `Take`, each time when the message before has been sent and freed, until it returns
// kNothing; then wait for `on_ready`. It is called, once for each kNothing, when there is something
// again, by the serving thread and with no lock held. Whoever fetched the last event is sure that
// the writer never touches the stream again, if there was a writer at all, and may destroy it.
#ifndef GLIMPSE_SERVER_TOKEN_STREAM_H_
#define GLIMPSE_SERVER_TOKEN_STREAM_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "engine/schedule/token_sink.h"
#include "glimpse/v1/chat.pb.h"
#include "preprocess/detokenizer.h"
#include "preprocess/mutex.h"
#include "preprocess/stop_string_matcher.h"
#include "preprocess/tokenizer.h"

namespace glimpse {

struct TokenStreamOptions {
  int64_t max_bytes = 256 << 10;
  std::vector<std::string> stop_strings = {};
  bool with_logprobs = false;
};

// What the reader sends next.
struct StreamEvent {
  enum class Kind {
    kNothing,  // wait for on_ready
    kMessage,  // `message`, and there will be more
    kLast,     // `message` is the last, the stream is complete
    kError,    // the stream ends with `status`
  };
  Kind kind = Kind::kNothing;
  v1::ChatResponse message;
  absl::Status status;
};

class TokenStream {
 public:
  // `tokenizer` outlives the stream.
  TokenStream(TokenStreamOptions options, const Tokenizer& tokenizer,
              std::function<void()> on_ready);
  TokenStream(const TokenStream&) = delete;
  TokenStream& operator=(const TokenStream&) = delete;

  // The first event, and the counts that the last one repeats. Before MakeSink.
  void Start(const v1::Started& started);

  // The writer's end. It is to be given away once; the stream outlives its `Finish`.
  std::unique_ptr<TokenSink> MakeSink();

  StreamEvent Take();

  // Any thread: the client has left. The writer will end the stream soon; until then `Take` yields
  // nothing.
  void MarkGone();
  // Any thread: the client takes nothing. As if it had come too late for `max_bytes`.
  void MarkTooSlow();
  bool gone() const;

 private:
  class Sink;

  // The writer's calls; see TokenSink.
  bool Push(const SampledToken& token);
  void Finish(const absl::Status& status, const Completion& completion);

  std::string Detokenize(int32_t id);
  std::string FinishText();
  std::string WithoutLeadingNewline(std::string text);
  void Append(const SampledToken* token, const std::string& text)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void GiveUp() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  StreamEvent TakeEnd() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const TokenStreamOptions options_;
  const std::function<void()> on_ready_;

  // The writer's alone.
  Detokenizer detokenizer_;
  StopStringMatcher matcher_;
  bool text_began_ = false;

  mutable Mutex mutex_;
  std::optional<v1::Started> started_ ABSL_GUARDED_BY(mutex_);  // until it is fetched
  v1::Delta pending_ ABSL_GUARDED_BY(mutex_);
  int64_t pending_bytes_ ABSL_GUARDED_BY(mutex_) = 0;  // of memory, at most
  int64_t taken_bytes_ ABSL_GUARDED_BY(mutex_) = 0;    // of the message that is being sent
  v1::Finished finished_ ABSL_GUARDED_BY(mutex_);
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mutex_);
  bool client_left_ ABSL_GUARDED_BY(mutex_) = false;
  bool reader_too_slow_ ABSL_GUARDED_BY(mutex_) = false;
  bool reader_waits_ ABSL_GUARDED_BY(mutex_) = false;
};

// The public form of a completed request's stage times; stages that did not happen are absent.
v1::Timing ToTiming(const StageTimes& times);

}  // namespace glimpse

#endif  // GLIMPSE_SERVER_TOKEN_STREAM_H_
