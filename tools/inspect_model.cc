#include "tools/inspect_model.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "engine/checkpoint.h"
#include "engine/config.h"

namespace glimpse {
namespace {

struct Share {
  int64_t tensors = 0;
  int64_t parameters = 0;
  int64_t bytes = 0;

  void Add(int64_t count, int64_t size) {
    ++tensors;
    parameters += count;
    bytes += size;
  }
};

const char* PartOf(const std::string& tensor) {
  if (absl::StartsWith(tensor, "transformer.vision.")) return "vision";
  if (absl::StartsWith(tensor, "transformer.embedding.")) return "embedding";
  if (absl::StartsWith(tensor, "transformer.output_layer.")) return "output layer";
  return "language layers";
}

void PrintLanguage(const LanguageConfig& c, std::ostream& out) {
  out << absl::StreamFormat(
      "language  %d layers, hidden %d, ffn %d, %d query and %d key/value heads of %d, "
      "vocabulary %d, context %d\n",
      c.num_layers, c.hidden_size, c.ffn_hidden_size, c.num_heads, c.num_kv_heads, c.head_size,
      c.vocabulary_size, c.max_context);
  out << absl::StreamFormat("          norm eps %g, RoPE base %g over %d channels, QKV bias %s\n",
                            c.norm_eps, c.rope_base, c.rotary_size, c.qkv_bias ? "yes" : "no");
}

void PrintVision(const std::optional<VisionConfig>& vision, std::ostream& out) {
  if (!vision) {
    out << "vision    none: this checkpoint reads text only\n";
    return;
  }
  const VisionConfig& c = *vision;
  out << absl::StreamFormat(
      "vision    %d layers, hidden %d, intermediate %d, %d heads of %d, norm eps %g\n",
      c.num_layers, c.hidden_size, c.intermediate_size, c.num_heads, c.head_size, c.norm_eps);
  out << absl::StreamFormat(
      "          picture %d x %d, patches of %d: %d x %d, %d rows in the prompt, scaled by 1/%g\n",
      c.image_size, c.image_size, c.patch_size, c.Grid(), c.Grid(), c.Rows(), c.scaling_factor);
}

void PrintGeneration(const ModelConfig& config, std::ostream& out) {
  const GenerationDefaults& g = config.generation;
  out << absl::StreamFormat(
      "sampling  %s, temperature %g, top_p %g, top_k %d, repetition penalty %g\n",
      g.do_sample ? "on" : "off (greedy)", g.temperature, g.top_p, g.top_k, g.repetition_penalty);
  out << "stop ids  " << absl::StrJoin(config.stop_ids, " ") << "\n";
}

void PrintShares(const std::vector<TensorSpec>& specs, const Checkpoint& checkpoint,
                 const std::string& dtype, std::ostream& out) {
  std::map<std::string, Share> shares;
  Share total;
  for (const TensorSpec& spec : specs) {
    const int64_t count = NumElements(spec.shape);
    const int64_t bytes = checkpoint.Tensor(spec.name).bytes.size();
    shares[PartOf(spec.name)].Add(count, bytes);
    total.Add(count, bytes);
  }
  const auto print = [&](const std::string& part, const Share& share) {
    out << absl::StreamFormat("%-16s %7d %15d %15d %s\n", part, share.tensors, share.parameters,
                              share.bytes, dtype);
  };
  out << absl::StreamFormat("\n%-16s %7s %15s %15s %s\n", "part", "tensors", "parameters", "bytes",
                            "type");
  for (const auto& [part, share] : shares) print(part, share);
  print("total", total);
}

void PrintTensors(const std::vector<TensorSpec>& specs, const Checkpoint& checkpoint,
                  std::ostream& out) {
  size_t width = 0;
  for (const TensorSpec& spec : specs) width = std::max(width, spec.name.size());
  out << "\n";
  for (const TensorSpec& spec : specs) {
    const TensorView& tensor = checkpoint.Tensor(spec.name);
    out << absl::StreamFormat("%-*s %-8s %-20s %s\n", static_cast<int>(width), spec.name,
                              DTypeName(tensor.dtype), ShapeString(tensor.shape), tensor.file);
  }
}

}  // namespace

int RunModel(const std::string& model_dir, std::ostream& out, std::ostream& err) {
  const absl::StatusOr<ModelConfig> config = ReadModelConfig(model_dir);
  if (!config.ok()) {
    err << config.status().message() << "\n";
    return 1;
  }
  const absl::StatusOr<std::unique_ptr<Checkpoint>> checkpoint =
      Checkpoint::Open(model_dir, *config);
  if (!checkpoint.ok()) {
    err << checkpoint.status().message() << "\n";
    return 1;
  }
  const std::vector<TensorSpec> specs = ExpectedTensors(*config);
  PrintLanguage(config->language, out);
  PrintVision(config->vision, out);
  PrintGeneration(*config, out);
  PrintShares(specs, **checkpoint, config->dtype, out);
  PrintTensors(specs, **checkpoint, out);
  return 0;
}

}  // namespace glimpse
