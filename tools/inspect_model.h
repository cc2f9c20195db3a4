// `glimpse-inspect model DIR`: what a checkpoint holds, without loading it on a device.
#ifndef GLIMPSE_TOOLS_INSPECT_MODEL_H_
#define GLIMPSE_TOOLS_INSPECT_MODEL_H_

#include <ostream>
#include <string>

namespace glimpse {

// Checks the whole checkpoint as the server does at its start, then prints to `out` the sizes,
// parameters and bytes by part, and every tensor with type, shape and file. Returns the exit code:
// 0, or 1 with one line on `err`.
int RunModel(const std::string& model_dir, std::ostream& out, std::ostream& err);

}  // namespace glimpse

#endif  // GLIMPSE_TOOLS_INSPECT_MODEL_H_
