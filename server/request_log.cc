#include "server/request_log.h"

#include <poll.h>
#include <unistd.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/time/time.h"

namespace glimpse {
namespace {

using Json = nlohmann::ordered_json;

double Milliseconds(absl::Duration duration) {
  return std::round(absl::ToDoubleMicroseconds(duration)) / 1000;
}

void AddStage(const char* name, absl::Time from, absl::Time to, Json& line) {
  if (Happened(from) && Happened(to)) line[name] = Milliseconds(to - from);
}

void AddImage(const ImageRecord& image, Json& line) {
  if (image.bytes == 0) return;
  line["image_bytes"] = image.bytes;
  if (image.pixels == 0) return;
  line["image_pixels"] = image.pixels;
  line["image_decode_ms"] = Milliseconds(image.decode);
  line["image_resize_ms"] = Milliseconds(image.resize);
}

void AddStages(const RequestRecord& record, Json& line) {
  const StageTimes& times = record.completion.times;
  const absl::Time prefill_from = Happened(times.encoded) ? times.encoded : times.admitted;
  AddStage("preprocess_ms", record.arrived, times.enqueued, line);
  AddStage("queue_ms", times.enqueued, times.admitted, line);
  AddStage("vision_ms", times.admitted, times.encoded, line);
  AddStage("prefill_ms", prefill_from, times.first_token, line);
  AddStage("decode_ms", times.first_token, times.finished, line);
  AddStage("first_token_ms", record.arrived, times.first_token, line);
  AddStage("total_ms", record.arrived, record.ended, line);
}

// A pipe or socket that is ready takes a line of this length whole.
bool Writable(int descriptor) {
  pollfd entry = {descriptor, POLLOUT, 0};
  return poll(&entry, 1, /*timeout=*/0) == 1;
}

}  // namespace

std::string RequestLogLine(const RequestRecord& record, int64_t lost) {
  Json line;
  line["time"] = absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", record.ended, absl::UTCTimeZone());
  if (!record.request_id.empty()) line["request_id"] = record.request_id;
  line["code"] = record.code;
  line["reason"] = record.reason;
  line["message_bytes"] = record.message_bytes;
  AddImage(record.image, line);
  if (record.prompt_tokens > 0) {
    line["prompt_tokens"] = record.prompt_tokens;
    line["image_tokens"] = record.image_tokens;
    line["completion_tokens"] = record.completion.completion_tokens;
  }
  AddStages(record, line);
  if (lost > 0) line["lines_lost"] = lost;
  return line.dump(/*indent=*/-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace);
}

void RequestLog::Write(const RequestRecord& record) {
  MutexLock lock(&mutex_);
  if (!Writable(descriptor_)) {
    ++lost_;
    return;
  }
  const std::string line = RequestLogLine(record, lost_) + "\n";
  const bool written = write(descriptor_, line.data(), line.size()) >= 0;
  lost_ = written ? 0 : lost_ + 1;
}

}  // namespace glimpse
