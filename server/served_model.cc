#include "server/served_model.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/types/span.h"
#include "engine/schedule/sequence.h"
#include "preprocess/fail_point.h"
#include "preprocess/status_macros.h"
#include "server/status.h"

namespace glimpse {
namespace {

constexpr int kDefaultMaxTokens = 1024;

std::optional<ImagePipeline> MakePipeline(int image_size, const ImageLimits& limits) {
  if (image_size == 0) return std::nullopt;
  return ImagePipeline(image_size, limits);
}

}  // namespace

ServedModel::ServedModel(std::unique_ptr<Tokenizer> tokenizer, ChatTemplate chat_template,
                         const ModelLimits& limits, const ImageLimits& image_limits)
    : tokenizer_(std::move(tokenizer)),
      chat_template_(std::move(chat_template)),
      limits_(limits),
      image_limits_(image_limits),
      images_(MakePipeline(limits.image_size, image_limits)) {}

absl::StatusOr<std::unique_ptr<Request>> ServedModel::Prepare(ChatInput input, const Clock& clock,
                                                              ImageRecord* record) const {
  GLIMPSE_RETURN_IF_ERROR(GLIMPSE_FAIL_POINT(kPreprocess));
  // Validation has refused all that Render refuses, so its error would be a fault of ours.
  absl::StatusOr<ChatPrompt> prompt = chat_template_.Render(input.messages);
  if (!prompt.ok()) return EngineFaultError();

  auto request = std::make_unique<Request>();
  request->prompt = std::move(prompt->ids);
  request->image_at = prompt->image_at;
  request->sampling = input.sampling;
  request->ignore_stop_ids = input.ignore_stop_ids;
  GLIMPSE_RETURN_IF_ERROR(SetMaxTokens(input.max_tokens, *request));
  if (!input.image.empty()) {
    GLIMPSE_ASSIGN_OR_RETURN(request->image, PrepareImage(input.image, clock, record));
  }
  return request;
}

absl::StatusOr<RgbImage> ServedModel::PrepareImage(const std::string& file, const Clock& clock,
                                                   ImageRecord* record) const {
  record->bytes = static_cast<int64_t>(file.size());
  const absl::Time start = clock.Now();
  const auto* bytes = reinterpret_cast<const uint8_t*>(file.data());
  const absl::StatusOr<RgbImage> image = images_->Decode(absl::MakeSpan(bytes, file.size()));
  if (!image.ok()) return ImageError(image.status(), image_limits_);
  const absl::Time decoded = clock.Now();
  RgbImage resized = images_->Resize(*image);
  record->pixels = int64_t{image->width} * image->height;
  record->decode = decoded - start;
  record->resize = clock.Now() - decoded;
  return resized;
}

int ServedModel::PromptTokens(const Request& request) const {
  return static_cast<int>(KvRowsNeeded(request, limits_) - request.max_tokens);
}

int ServedModel::ImageTokens(const Request& request) const {
  return request.image_at < 0 ? 0 : limits_.image_rows;
}

absl::Status ServedModel::SetMaxTokens(const std::optional<int>& asked, Request& request) const {
  const int64_t prompt_tokens = PromptTokens(request);
  if (prompt_tokens + asked.value_or(1) > limits_.max_context) {
    return ContextTooLongError(prompt_tokens, asked.value_or(1), limits_.max_context);
  }
  const int left = static_cast<int>(limits_.max_context - prompt_tokens);
  request.max_tokens = asked.value_or(std::min(left, kDefaultMaxTokens));
  return absl::OkStatus();
}

}  // namespace glimpse
