// glimpse-fake-server: the real server's code and flags over tests/fake_engine.h, for load and
// reliability tests. Needs no torch, no GPU and no checkpoint.
//
// Each answer is a hash of its request, or with --repeat a text over and over. Pictures are really
// decoded and resized. By default a token is a byte; with --model=DIR the tokens are those of
// DIR/tokenizer.model.
#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/reflection.h"
#include "absl/strings/str_cat.h"
#include "preprocess/chat_template.h"
#include "preprocess/check.h"
#include "preprocess/fail_point.h"
#include "preprocess/status_macros.h"
#include "preprocess/tokenizer.h"
#include "server/server_main.h"
#include "tests/fake_engine.h"
#include "tests/fake_server/timed_runner.h"
#include "tests/server/byte_tokenizer.h"

ABSL_FLAG(absl::Duration, decode_step_time, absl::ZeroDuration(), "Time of a decode step.");
ABSL_FLAG(absl::Duration, prefill_step_time, absl::ZeroDuration(), "Time of a prefill step,");
ABSL_FLAG(absl::Duration, prefill_token_time, absl::ZeroDuration(),
          "and on top of it for each of its tokens, padding included.");
ABSL_FLAG(absl::Duration, vision_layer_time, absl::ZeroDuration(),
          "Time of one layer of the vision tower for one picture.");
ABSL_FLAG(int, depth, 2, "Steps in flight.");
ABSL_FLAG(int, kv_blocks, 0, "Blocks of the KV cache. 0: what the batch needs at --max_context.");
ABSL_FLAG(int, block_size, 16, "KV rows of a block.");
ABSL_FLAG(int, image_size, 28, "Pixels a side that pictures are resized to; 0: a text-only model.");
ABSL_FLAG(int, image_rows, 6, "Tokens of a picture.");
ABSL_FLAG(int, vision_layers, 4, "Layers of the vision tower.");
ABSL_FLAG(int64_t, break_at_step, -1,
          "The engine breaks for good at this step, from 0; -1: never.");
ABSL_FLAG(std::string, fail_points, "", "As SetFailPoints takes them; a build with fail points.");
ABSL_FLAG(uint64_t, fail_points_seed, 1, "Of the fail points' draws.");
ABSL_FLAG(std::string, repeat, "",
          "Answer this text over and over, in place of a hash: quicker, and legible.");

namespace glimpse {
namespace {

constexpr char kBytes[] = "bytes";
constexpr int kMaxContext = 4096;

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(const std::string& model) {
  if (model != kBytes) return Tokenizer::Load(model);
  const ByteTokenizerFiles files;  // gone again when they have been read
  return Tokenizer::Load(files.directory());
}

// What the real engine would take from config.json.
ModelLimits MakeLimits(const EngineOptions& options, const Tokenizer& tokenizer) {
  ModelLimits limits;
  limits.vocabulary_size = tokenizer.vocabulary_size();
  limits.max_context = options.max_context > 0 ? options.max_context : kMaxContext;
  limits.image_size = absl::GetFlag(FLAGS_image_size);
  limits.image_rows = limits.image_size > 0 ? absl::GetFlag(FLAGS_image_rows) : 0;
  limits.vision_layers = limits.image_size > 0 ? absl::GetFlag(FLAGS_vision_layers) : 0;
  limits.stop_ids = {*tokenizer.SpecialId("<|endoftext|>")};
  limits.max_batch_size = options.max_batch_size;
  limits.block_size = absl::GetFlag(FLAGS_block_size);
  const int blocks = absl::GetFlag(FLAGS_kv_blocks);
  const int blocks_each = (limits.max_context + limits.block_size - 1) / limits.block_size;
  limits.num_blocks = blocks > 0 ? blocks : limits.max_batch_size * blocks_each;
  limits.max_context = std::min(limits.max_context, limits.num_blocks * limits.block_size);
  return limits;
}

absl::StatusOr<std::vector<int32_t>> MakeScript(const Tokenizer& tokenizer, int max_context) {
  GLIMPSE_ASSIGN_OR_RETURN(const std::vector<int32_t> ids,
                           tokenizer.Encode(absl::GetFlag(FLAGS_repeat)));
  std::vector<int32_t> script;
  for (int i = 0; !ids.empty() && i < max_context; ++i) script.push_back(ids[i % ids.size()]);
  return script;
}

DeviceTimes Times() {
  DeviceTimes times;
  times.decode_step = absl::GetFlag(FLAGS_decode_step_time);
  times.prefill_step = absl::GetFlag(FLAGS_prefill_step_time);
  times.prefill_token = absl::GetFlag(FLAGS_prefill_token_time);
  times.vision_layer = absl::GetFlag(FLAGS_vision_layer_time);
  return times;
}

absl::StatusOr<ServerModel> LoadModel(const ServerConfig& config, const Clock* clock) {
  GLIMPSE_RETURN_IF_ERROR(
      SetFailPoints(absl::GetFlag(FLAGS_fail_points), absl::GetFlag(FLAGS_fail_points_seed)));
  GLIMPSE_ASSIGN_OR_RETURN(std::unique_ptr<Tokenizer> tokenizer,
                           LoadTokenizer(config.engine.model_dir));
  GLIMPSE_ASSIGN_OR_RETURN(ChatTemplate chat_template, ChatTemplate::Create(*tokenizer));
  ServerModel model;
  model.limits = MakeLimits(config.engine, *tokenizer);
  FakeEngineOptions engine;
  engine.limits = model.limits;
  GLIMPSE_ASSIGN_OR_RETURN(engine.script, MakeScript(*tokenizer, model.limits.max_context));
  engine.depth = absl::GetFlag(FLAGS_depth);
  model.runner = std::make_unique<TimedRunner>(std::make_unique<FakeEngine>(std::move(engine)),
                                               Times(), absl::GetFlag(FLAGS_break_at_step), clock);
  model.served = std::make_unique<ServedModel>(std::move(tokenizer), std::move(chat_template),
                                               model.limits, config.images);
  model.description.set_name("fake");
  model.description.set_device("none");
  return model;
}

}  // namespace
}  // namespace glimpse

int main(int argc, char** argv) {
  std::string error;  // an unknown flag: a slip of ours
  const bool known = absl::FindCommandLineFlag("model")->ParseFrom(glimpse::kBytes, &error);
  GLIMPSE_CHECK(known, error.c_str());
  return glimpse::ServerMain(argc, argv,
                             "the server's own code over an engine without a model, for tests",
                             glimpse::LoadModel);
}
