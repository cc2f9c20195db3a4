// Lines for the operator, on a descriptor that perhaps nobody reads.
//
// Nothing that serves may wait for whoever collects the log: a pipe whose reader has stalled would
// hold up calls, steps, health and the process' end. So a line that is not taken at once is lost.
#ifndef GLIMPSE_SERVER_OPERATOR_LINE_H_
#define GLIMPSE_SERVER_OPERATOR_LINE_H_

#include "absl/strings/string_view.h"

namespace glimpse {

// Writes `text` and an end of line in one write; a text longer than a pipe takes whole, 4 KiB, is
// cut. False: the descriptor didn't take it now. Any thread: one lock serves all descriptors, so
// that two threads can't both count on the room for one line. What is left is another process that
// fills the same pipe within the microsecond between the look and the write: that one blocks.
bool TryWriteLine(int descriptor, absl::string_view text);

// The same on standard error.
void TellOperator(absl::string_view text);

}  // namespace glimpse

#endif  // GLIMPSE_SERVER_OPERATOR_LINE_H_
