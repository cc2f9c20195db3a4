// The main function of a program that serves: flags in, a serving process out. With the real clock,
// which nothing below knows.
#ifndef GLIMPSE_SERVER_SERVER_MAIN_H_
#define GLIMPSE_SERVER_SERVER_MAIN_H_

#include <functional>

#include "absl/status/statusor.h"
#include "engine/schedule/clock.h"
#include "server/config.h"
#include "server/server.h"

namespace glimpse {

// Runs on main's thread while the server listens and refuses calls as LOADING.
using ModelLoader =
    std::function<absl::StatusOr<ServerModel>(const ServerConfig& config, const Clock* clock)>;

// Returns main's exit code: 0 after a drain; 1 with a line on standard error for flags, a model or
// an address that can't be used, and after a fault that ends the process. `usage` is --help's text.
int ServerMain(int argc, char** argv, const char* usage, const ModelLoader& load);

}  // namespace glimpse

#endif  // GLIMPSE_SERVER_SERVER_MAIN_H_
