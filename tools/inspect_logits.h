// `glimpse-inspect logits REQUEST.json`: what the model computes for a prompt, as a NumPy file, for
// comparison with models/reference/glm4v.py.
#ifndef GLIMPSE_TOOLS_INSPECT_LOGITS_H_
#define GLIMPSE_TOOLS_INSPECT_LOGITS_H_

#include <ostream>
#include <string>

namespace glimpse {

struct InspectLogitsOptions {
  std::string model_dir;
  std::string request_path;  // {"messages": [{"role", "text", "image"?}]} or {"ids", "image"?}
  std::string out_path;      // .npy, float32 [rows, vocabulary]
  std::string device = "auto";
  std::string dtype = "auto";
  bool dummy_weights = false;
  bool all = false;  // logits after every row of the prompt, not just after the last

  // Which path computes them; the result is the same but for rounding.
  int chunk = 0;         // prefill that many rows at a time; 0: all at once
  int decode_from = -1;  // from this row on, one row a step as in decoding; -1: none
};

// Returns the exit code: 0, or 1 with one line in `err`.
int RunLogits(const InspectLogitsOptions& options, std::ostream& err);

}  // namespace glimpse

#endif  // GLIMPSE_TOOLS_INSPECT_LOGITS_H_
