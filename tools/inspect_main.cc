// glimpse-inspect: shows what the parts of the server make of an input, for whoever debugs or
// compares. The subcommands' work is in inspect_*.h; this is the command line.
#include <fstream>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/flags/usage_config.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/config.h"
#include "preprocess/status_macros.h"
#include "tools/inspect_image.h"
#include "tools/inspect_logits.h"
#include "tools/inspect_model.h"
#include "tools/inspect_tokenizer.h"

ABSL_FLAG(std::string, model, "", "checkpoint directory");
ABSL_FLAG(std::string, out, "", "image, logits: file to write; default for image: stdout");
ABSL_FLAG(std::string, size, "model",
          "image: side in pixels of the square to resize to; model: the model's; native: none");
ABSL_FLAG(
    int, repeat, 0,
    "tokenize, image: do the work this often and report its time on stderr; 0: once, no time");
ABSL_FLAG(bool, all, false, "logits: after every row of the prompt, not just after the last");
ABSL_FLAG(int, chunk, 0, "logits: prefill that many rows at a time; 0: all at once");
ABSL_FLAG(int, decode_from, -1,
          "logits: from this row on one row a step, as in decoding; -1: none");
ABSL_FLAG(std::string, device, "auto", "logits: auto, cpu or cuda");
ABSL_FLAG(std::string, dtype, "auto", "logits: auto, float32, bfloat16 or float16");
ABSL_FLAG(bool, dummy_weights, false, "logits: random weights of config.json's sizes");

namespace glimpse {
namespace {

constexpr char kUsage[] =
    "shows what the server's parts make of an input.\n\n"
    "  glimpse-inspect --model=DIR tokenize       one JSON string a line in, its ids a line out\n"
    "  glimpse-inspect --model=DIR detokenize     one JSON array of ids a line in, its text out\n"
    "  glimpse-inspect --model=DIR image FILE     the picture as the model gets it, as PPM\n"
    "  glimpse-inspect --model=DIR --out=FILE.npy logits REQUEST.json\n"
    "      the logits after a prompt: {\"messages\": [{\"role\", \"text\", \"image\"?}]} or\n"
    "      {\"ids\", \"image\"?}, where image is the path of a picture\n"
    "  glimpse-inspect model DIR                  sizes and tensors of a checkpoint";

int Fail(absl::string_view line) {
  std::cerr << "glimpse-inspect: " << line << std::endl;
  return 2;
}

// 0 keeps the picture as it is.
absl::StatusOr<int> PictureSize() {
  const std::string text = absl::GetFlag(FLAGS_size);
  int size = 0;
  if (text == "native") return 0;
  if (absl::SimpleAtoi(text, &size) && size >= 1 && size <= 16384) return size;
  if (text != "model") return absl::InvalidArgumentError("--size is native, model or 1 to 16384");
  if (absl::GetFlag(FLAGS_model).empty()) {
    return absl::InvalidArgumentError("--model=DIR or --size is needed");
  }
  GLIMPSE_ASSIGN_OR_RETURN(const ModelConfig config, ReadModelConfig(absl::GetFlag(FLAGS_model)));
  if (!config.vision) return absl::InvalidArgumentError("this model takes no pictures");
  return config.vision->image_size;
}

int Image(const std::string& path) {
  const absl::StatusOr<int> size = PictureSize();
  if (!size.ok()) return Fail(size.status().message());
  InspectImageOptions options;
  options.path = path;
  options.size = *size;
  options.repeat = std::max(1, absl::GetFlag(FLAGS_repeat));
  const std::string out = absl::GetFlag(FLAGS_out);
  if (out.empty()) return RunImage(options, std::cout, std::cerr);
  std::ofstream file(out, std::ios::binary);
  if (!file) return Fail(absl::StrCat("can't write ", out));
  return RunImage(options, file, std::cerr);
}

int Logits(const std::string& path) {
  if (absl::GetFlag(FLAGS_out).empty()) return Fail("logits needs --out=FILE.npy");
  InspectLogitsOptions options;
  options.model_dir = absl::GetFlag(FLAGS_model);
  options.request_path = path;
  options.out_path = absl::GetFlag(FLAGS_out);
  options.device = absl::GetFlag(FLAGS_device);
  options.dtype = absl::GetFlag(FLAGS_dtype);
  options.dummy_weights = absl::GetFlag(FLAGS_dummy_weights);
  options.all = absl::GetFlag(FLAGS_all);
  options.chunk = absl::GetFlag(FLAGS_chunk);
  options.decode_from = absl::GetFlag(FLAGS_decode_from);
  return RunLogits(options, std::cerr);
}

int Run(const std::string& command, const std::vector<std::string>& operands) {
  const std::map<std::string, std::string> operand_of = {{"tokenize", ""},
                                                         {"detokenize", ""},
                                                         {"image", "a picture file"},
                                                         {"model", ""},
                                                         {"logits", "a request file"}};
  const auto known = operand_of.find(command);
  if (known == operand_of.end()) {
    return Fail(absl::StrCat("unknown subcommand '", command,
                             "'; there are tokenize, detokenize, image, logits and model"));
  }
  std::string model = absl::GetFlag(FLAGS_model);
  const bool names_model = command == "model" && model.empty();
  if (operands.size() != (known->second.empty() && !names_model ? 0 : 1)) {
    return Fail(absl::StrCat(command, " takes ",
                             names_model             ? "a checkpoint directory"
                             : known->second.empty() ? "no operand"
                                                     : known->second));
  }
  if (command == "image") return Image(operands[0]);
  if (names_model) model = operands[0];
  if (model.empty()) return Fail("--model=DIR is needed");
  if (command == "model") return RunModel(model, std::cout, std::cerr);
  if (command == "logits") return Logits(operands[0]);
  if (command == "detokenize") return RunDetokenize(model, std::cin, std::cout, std::cerr);
  return RunTokenize(model, absl::GetFlag(FLAGS_repeat), std::cin, std::cout, std::cerr);
}

}  // namespace
}  // namespace glimpse

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage(glimpse::kUsage);
  absl::FlagsUsageConfig config;
  config.contains_help_flags = [](absl::string_view file) {
    return absl::EndsWith(file, "inspect_main.cc");
  };
  absl::SetFlagsUsageConfig(config);
  const std::vector<char*> arguments = absl::ParseCommandLine(argc, argv);
  if (arguments.size() < 2) return glimpse::Fail("no subcommand; see --help");
  return glimpse::Run(arguments[1], {arguments.begin() + 2, arguments.end()});
}
