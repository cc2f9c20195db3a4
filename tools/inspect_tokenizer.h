// `glimpse-inspect tokenize` and `detokenize`: the tokenizer from the outside, to compare it with
// others, to time it, to look at ids. Each returns the exit code: 0, or 1 after one line on `err`.
#ifndef GLIMPSE_TOOLS_INSPECT_TOKENIZER_H_
#define GLIMPSE_TOOLS_INSPECT_TOKENIZER_H_

#include <istream>
#include <ostream>
#include <string>

namespace glimpse {

// One JSON string a line in, a JSON array of its ids a line out, each at once. With `repeat` > 0 no
// ids come out: all texts are read, encoded `repeat` times, and one JSON object on `err` says how
// long that took ("seconds") and for how much ("texts", "bytes", "repeat", "ids").
int RunTokenize(const std::string& model_dir, int repeat, std::istream& in, std::ostream& out,
                std::ostream& err);

// One JSON array of ids a line in, the text as a JSON string a line out.
int RunDetokenize(const std::string& model_dir, std::istream& in, std::ostream& out,
                  std::ostream& err);

}  // namespace glimpse

#endif  // GLIMPSE_TOOLS_INSPECT_TOKENIZER_H_
