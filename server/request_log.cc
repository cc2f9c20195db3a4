#include "server/request_log.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/time/time.h"
#include "server/operator_line.h"

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
  AddStage("preprocess_ms", record.arrived, times.enqueued, line);
  AddStage("queue_ms", times.enqueued, times.admitted, line);
  AddStage("vision_ms", times.admitted, times.encoded, line);
  AddStage("prefill_ms", times.prefill_began(), times.first_token, line);
  AddStage("decode_ms", times.first_token, times.finished, line);
  AddStage("first_token_ms", record.arrived, times.first_token, line);
  AddStage("total_ms", record.arrived, record.ended, line);
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
  const int64_t lost = lost_.exchange(0);
  if (!TryWriteLine(descriptor_, RequestLogLine(record, lost))) lost_ += lost + 1;
}

}  // namespace glimpse
