#include "tools/inspect_logits.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <fstream>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "engine/engine.h"
#include "engine/schedule/block_pool.h"
#include "engine/schedule/sequence.h"
#include "nlohmann/json.hpp"
#include "preprocess/chat_template.h"
#include "preprocess/image_pipeline.h"
#include "preprocess/read_file.h"
#include "preprocess/status_macros.h"
#include "preprocess/tokenizer.h"

namespace glimpse {
namespace {

using nlohmann::json;

constexpr int kDecodeBucket = 4;  // a padded step, as the server runs them
constexpr size_t kMaxFileBytes = size_t{1} << 30;

struct Prompt {
  std::vector<int32_t> ids;
  int image_at = -1;
  std::string image_path;
};

absl::StatusOr<ChatMessage> ParseMessage(const json& message) {
  static const std::vector<std::string> kRoles = {"system", "user", "assistant"};
  const auto role = std::find(kRoles.begin(), kRoles.end(), message.value("role", ""));
  if (role == kRoles.end()) return absl::InvalidArgumentError("a message's role is not known");
  ChatMessage parsed;
  parsed.role = static_cast<ChatMessage::Role>(role - kRoles.begin());
  parsed.text = message.value("text", "");
  parsed.has_image = message.contains("image");
  return parsed;
}

absl::StatusOr<Prompt> ParseMessages(const json& messages, const Tokenizer& tokenizer) {
  Prompt prompt;
  std::vector<ChatMessage> parsed;
  for (const json& message : messages) {
    GLIMPSE_ASSIGN_OR_RETURN(parsed.emplace_back(), ParseMessage(message));
    if (parsed.back().has_image) prompt.image_path = message.at("image").get<std::string>();
  }
  GLIMPSE_ASSIGN_OR_RETURN(const ChatTemplate chat, ChatTemplate::Create(tokenizer));
  GLIMPSE_ASSIGN_OR_RETURN(ChatPrompt rendered, chat.Render(parsed));
  prompt.ids = std::move(rendered.ids);
  prompt.image_at = rendered.image_at;
  return prompt;
}

absl::StatusOr<Prompt> ParseIds(const json& request, const Tokenizer& tokenizer) {
  Prompt prompt;
  prompt.ids = request.at("ids").get<std::vector<int32_t>>();
  prompt.image_path = request.value("image", "");
  if (prompt.image_path.empty()) return prompt;
  const auto begin = std::find(prompt.ids.begin(), prompt.ids.end(),
                               tokenizer.SpecialId("<|begin_of_image|>").value_or(-1));
  if (begin == prompt.ids.end()) {
    return absl::InvalidArgumentError("ids hold no <|begin_of_image|> for the image");
  }
  prompt.image_at = static_cast<int>(begin - prompt.ids.begin());
  return prompt;
}

absl::StatusOr<Prompt> ReadPrompt(const InspectLogitsOptions& options) {
  GLIMPSE_ASSIGN_OR_RETURN(const std::string content,
                           ReadFile(options.request_path, kMaxFileBytes));
  GLIMPSE_ASSIGN_OR_RETURN(const auto tokenizer, Tokenizer::Load(options.model_dir));
  try {
    const json request = json::parse(content);
    return request.contains("ids") ? ParseIds(request, *tokenizer)
                                   : ParseMessages(request.at("messages"), *tokenizer);
  } catch (const json::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat(options.request_path, ": ", error.what()));
  }
}

absl::StatusOr<std::unique_ptr<Request>> BuildRequest(Prompt prompt, const ModelLimits& limits) {
  for (int32_t id : prompt.ids) {
    if (id < 0 || id >= limits.vocabulary_size) {
      return absl::InvalidArgumentError(absl::StrCat("id ", id, " is not in the vocabulary"));
    }
  }
  auto request = std::make_unique<Request>();
  request->prompt = std::move(prompt.ids);
  request->image_at = prompt.image_at;
  request->max_tokens = 1;
  if (prompt.image_at >= 0 && limits.image_size > 0) {
    GLIMPSE_ASSIGN_OR_RETURN(const std::string file, ReadFile(prompt.image_path, kMaxFileBytes));
    const auto* bytes = reinterpret_cast<const uint8_t*>(file.data());
    GLIMPSE_ASSIGN_OR_RETURN(request->image, ImagePipeline(limits.image_size, ImageLimits())
                                                 .Process(absl::MakeSpan(bytes, file.size())));
  }
  GLIMPSE_RETURN_IF_ERROR(CheckCanRun(*request, limits));
  return request;
}

StepPlan OneRowPlan(StepKind kind, StepRow row) {
  StepPlan plan;
  plan.kind = kind;
  plan.bucket = std::max(1, static_cast<int>(row.tokens.size()));
  plan.num_real_rows = 1;
  plan.rows.push_back(std::move(row));
  if (kind != StepKind::kDecode) return plan;
  plan.bucket = kDecodeBucket;
  StepRow padding;
  padding.tokens = padding.positions = {0};
  plan.rows.resize(kDecodeBucket, padding);
  return plan;
}

// Runs the whole prompt; [rows, vocabulary], or its last row alone.
absl::StatusOr<std::vector<float>> Compute(const InspectLogitsOptions& options, Engine* engine,
                                           std::unique_ptr<Request> request) {
  const ModelLimits& limits = engine->limits();
  const int rows = static_cast<int>(KvRowsNeeded(*request, limits)) - 1;
  const int decode_from = options.decode_from < 0 ? rows : std::min(options.decode_from, rows);
  BlockPool pool(limits.num_blocks);
  auto blocks = pool.Allocate(static_cast<int>(KvBlocksNeeded(*request, limits)));
  Sequence sequence(0, /*slot=*/0, *std::move(blocks), std::move(request), &limits);

  if (sequence.phase() == Sequence::Phase::kVision) {
    const StepRow row = sequence.VisionRow();
    StepPlan plan = OneRowPlan(StepKind::kVision, row);
    plan.end_layer = limits.vision_layers;
    GLIMPSE_RETURN_IF_ERROR(RunStep(*engine, plan).status());
    sequence.Advance(row);
  }
  const int chunk = options.chunk > 0 ? options.chunk : EngineOptions().max_prefill_tokens;
  std::vector<float> result;
  for (int done = 0; done < rows;) {
    const bool decode = done >= decode_from;
    const int left = decode ? 1 : decode_from - done;
    StepRow row = sequence.NextRow(std::min(chunk, left));
    done += static_cast<int>(row.tokens.size());
    sequence.Advance(row);
    const StepKind kind = decode ? StepKind::kDecode : StepKind::kPrefill;
    GLIMPSE_ASSIGN_OR_RETURN(std::vector<float> logits,
                             engine->Logits(OneRowPlan(kind, std::move(row))));
    if (!options.all) result.clear();
    const auto begin = options.all ? logits.begin() : logits.end() - limits.vocabulary_size;
    result.insert(result.end(), begin, logits.end());
  }
  return result;
}

// NumPy's format 1.0: magic, version, length of the header, the header padded to 64 bytes, data.
absl::Status WriteNpy(const std::string& path, const std::vector<float>& values, size_t columns) {
  static_assert(std::endian::native == std::endian::little);
  std::string header = absl::StrCat("{'descr': '<f4', 'fortran_order': False, 'shape': (",
                                    values.size() / columns, ", ", columns, "), }");
  header.append(63 - (10 + header.size()) % 64, ' ');
  header.push_back('\n');
  const char prefix[] = {'\x93',
                         'N',
                         'U',
                         'M',
                         'P',
                         'Y',
                         1,
                         0,
                         static_cast<char>(header.size()),
                         static_cast<char>(header.size() >> 8)};
  std::ofstream file(path, std::ios::binary);
  file.write(prefix, sizeof(prefix)) << header;
  file.write(reinterpret_cast<const char*>(values.data()),
             static_cast<std::streamsize>(values.size() * sizeof(float)));
  return file.flush() ? absl::OkStatus() : absl::UnavailableError("can't write " + path);
}

absl::Status Inspect(const InspectLogitsOptions& options) {
  GLIMPSE_ASSIGN_OR_RETURN(Prompt prompt, ReadPrompt(options));
  EngineOptions engine_options;
  engine_options.model_dir = options.model_dir;
  engine_options.device = options.device;
  engine_options.dtype = options.dtype;
  engine_options.load_format = options.dummy_weights ? LoadFormat::kDummy : LoadFormat::kAuto;
  engine_options.max_batch_size = 1;
  GLIMPSE_ASSIGN_OR_RETURN(const auto engine, Engine::Create(engine_options));
  GLIMPSE_ASSIGN_OR_RETURN(auto request, BuildRequest(std::move(prompt), engine->limits()));
  GLIMPSE_ASSIGN_OR_RETURN(const std::vector<float> logits,
                           Compute(options, engine.get(), std::move(request)));
  return WriteNpy(options.out_path, logits, static_cast<size_t>(engine->limits().vocabulary_size));
}

}  // namespace

int RunLogits(const InspectLogitsOptions& options, std::ostream& err) {
  const absl::Status status = Inspect(options);
  if (status.ok()) return 0;
  err << status.message() << "\n";
  return 1;
}

}  // namespace glimpse
