#include "server/operator_line.h"

#include <limits.h>
#include <poll.h>
#include <unistd.h>

#include <string>

#include "preprocess/mutex.h"

namespace glimpse {
namespace {

// A pipe that is ready has room for PIPE_BUF bytes and takes them whole.
bool Writable(int descriptor) {
  pollfd entry = {descriptor, POLLOUT, 0};
  return poll(&entry, 1, /*timeout=*/0) == 1;
}

}  // namespace

bool TryWriteLine(int descriptor, absl::string_view text) {
  static Mutex mutex;
  std::string line(text.substr(0, PIPE_BUF - 1));
  line += '\n';
  MutexLock lock(&mutex);
  return Writable(descriptor) && write(descriptor, line.data(), line.size()) >= 0;
}

void TellOperator(absl::string_view text) { TryWriteLine(STDERR_FILENO, text); }

}  // namespace glimpse
