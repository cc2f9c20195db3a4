#include "server/server_main.h"

#include <google/protobuf/stubs/logging.h>
#include <sys/resource.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "preprocess/status_macros.h"
#include "server/operator_line.h"
#include "server/signals.h"

namespace glimpse {
namespace {

// gRPC 1.51 accepts no connection ever again once it has run out of file descriptors, so it gets
// all that there are.
void RaiseFileLimit() {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

int Fail(const absl::Status& status) {
  TellOperator(absl::StrCat("glimpse-server: ", status.message()));
  return EXIT_FAILURE;
}

absl::StatusOr<ServerConfig> ReadFlags(int argc, char** argv) {
  const std::vector<char*> arguments = absl::ParseCommandLine(argc, argv);
  if (arguments.size() > 1) {
    return absl::InvalidArgumentError(absl::StrCat("unexpected argument: ", arguments[1]));
  }
  return ConfigFromFlags();
}

absl::Status Run(ServerConfig config, const ModelLoader& load, ServerSignals& signals) {
  const RealClock clock;
  GLIMPSE_ASSIGN_OR_RETURN(const std::unique_ptr<Server> server, Server::Start(config, &clock));
  config.engine.progress = [&](int64_t done, int64_t total) {
    server->metrics().OnWeights(done, total);
  };
  GLIMPSE_ASSIGN_OR_RETURN(const ServerModel model, load(config, &clock));
  const absl::Status status = server->Serve(model, signals);
  // What is left of the model would wait for, or ask, a device that answers nothing any more.
  if (model.runner->broken()) std::_Exit(Fail(status));
  return status;
}

}  // namespace

int ServerMain(int argc, char** argv, const char* usage, const ModelLoader& load) {
  // The libraries' own log lines would stand beside our one line; GRPC_VERBOSITY=INFO brings
  // gRPC's back. Protobuf's only repeat what a client sent wrongly.
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);
  google::protobuf::SetLogHandler(nullptr);
  absl::SetProgramUsageMessage(usage);
  const absl::StatusOr<ServerConfig> config = ReadFlags(argc, argv);
  if (!config.ok()) return Fail(config.status());
  if (config->print_config) {
    std::fputs(ConfigText().c_str(), stdout);
    return EXIT_SUCCESS;
  }
  RaiseFileLimit();
  std::signal(SIGPIPE, SIG_IGN);      // standard error may be a pipe whose reader has left
  auto* signals = new ServerSignals;  // its thread outlives main
  signals->Listen();
  const absl::Status status = Run(*config, load, *signals);
  return status.ok() ? EXIT_SUCCESS : Fail(status);
}

}  // namespace glimpse
