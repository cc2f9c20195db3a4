// All that the server has of the loaded model besides the engine, and the step from a valid request
// to one that the engine can run.
#ifndef GLIMPSE_SERVER_SERVED_MODEL_H_
#define GLIMPSE_SERVER_SERVED_MODEL_H_

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "engine/schedule/clock.h"
#include "engine/schedule/model_limits.h"
#include "engine/schedule/request.h"
#include "preprocess/chat_template.h"
#include "preprocess/image_pipeline.h"
#include "preprocess/tokenizer.h"
#include "server/request_record.h"
#include "server/request_validation.h"

namespace glimpse {

// Immutable, safe for all threads.
class ServedModel {
 public:
  // `chat_template` is made from `tokenizer`, which knows no id beyond limits.vocabulary_size. The
  // KV cache holds limits.max_context rows.
  ServedModel(std::unique_ptr<Tokenizer> tokenizer, ChatTemplate chat_template,
              const ModelLimits& limits, const ImageLimits& image_limits);

  bool takes_images() const { return images_.has_value(); }
  const Tokenizer& tokenizer() const { return *tokenizer_; }

  // Tokenises, decodes and resizes: milliseconds of work. The request still lacks its id, deadline,
  // times and sink. Errors are public ones of status.h: CONTEXT_TOO_LONG, or the picture's. Notes
  // in `record`, error or not, what the picture was and took of the clock's time.
  absl::StatusOr<std::unique_ptr<Request>> Prepare(ChatInput input, const Clock& clock,
                                                   ImageRecord* record) const;

  // Tokens of the prompt as the model sees it: a picture's three ids count as its rows.
  int PromptTokens(const Request& request) const;
  int ImageTokens(const Request& request) const;

 private:
  absl::StatusOr<RgbImage> PrepareImage(const std::string& file, const Clock& clock,
                                        ImageRecord* record) const;
  absl::Status SetMaxTokens(const std::optional<int>& asked, Request& request) const;

  const std::unique_ptr<Tokenizer> tokenizer_;
  const ChatTemplate chat_template_;
  const ModelLimits limits_;
  const ImageLimits image_limits_;
  const std::optional<ImagePipeline> images_;  // none for a text-only checkpoint
};

}  // namespace glimpse

#endif  // GLIMPSE_SERVER_SERVED_MODEL_H_
