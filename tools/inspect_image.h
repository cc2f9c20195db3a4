// `glimpse-inspect image FILE`: the picture as the model would get it, for a look or a comparison.
#ifndef GLIMPSE_TOOLS_INSPECT_IMAGE_H_
#define GLIMPSE_TOOLS_INSPECT_IMAGE_H_

#include <ostream>
#include <string>

#include "preprocess/image_header.h"

namespace glimpse {

struct InspectImageOptions {
  std::string path;  // of a JPEG, PNG or WebP file
  int size = 0;      // side of the square to resize to, in pixels; 0 keeps the decoded size
  int repeat = 1;    // how often decode and resize are run; past 1 their times are printed
  ImageLimits limits;
};

// Writes the decoded, upright and (with a size) resized picture to `out` as a binary PPM (P6). With
// repeat > 1, writes one line of JSON to `err`: {"decode_seconds": [...], "resize_seconds": [...]},
// an entry a run. Returns the exit code: 0, or 1 with one line in `err`, which for a refused
// picture starts with the reason.
int RunImage(const InspectImageOptions& options, std::ostream& out, std::ostream& err);

}  // namespace glimpse

#endif  // GLIMPSE_TOOLS_INSPECT_IMAGE_H_
