// A serving process but for its model: what glimpse-server and the tests' server have in common.
//
//   RealClock clock;
//   ServerSignals signals;
//   GLIMPSE_ASSIGN_OR_RETURN(auto server, Server::Start(config, &clock));  // calls get LOADING
//   GLIMPSE_ASSIGN_OR_RETURN(ServerModel model, ...);                      // minutes, maybe
//   return server->Serve(model, signals);                                  // until told to end
//
// Health says "liveness" from Start on, and the rest while calls are answered. A reload at each
// SIGHUP stands between the calls accepted before and those after; a SIGTERM or SIGINT drains.
// "liveness" fails while the serving loop hangs (liveness.h), and for good when the runner breaks.
#ifndef GLIMPSE_SERVER_SERVER_H_
#define GLIMPSE_SERVER_SERVER_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/schedule/clock.h"
#include "engine/schedule/model_limits.h"
#include "engine/schedule/request_queue.h"
#include "engine/schedule/step_plan.h"
#include "preprocess/worker_pool.h"
#include "server/admin_http.h"
#include "server/admission.h"
#include "server/chat_service.h"
#include "server/config.h"
#include "server/grpc_server.h"
#include "server/liveness.h"
#include "server/metrics.h"
#include "server/request_log.h"
#include "server/served_model.h"
#include "server/serving_loop.h"
#include "server/signals.h"

namespace glimpse {

// What is served.
struct ServerModel {
  std::unique_ptr<StepRunner> runner;
  ModelLimits limits;  // the runner's
  std::unique_ptr<ServedModel> served;
  SamplingParams default_sampling;
  v1::GetModelResponse description;  // Serve adds what the limits and the flags say

  // What a SIGHUP asks for; runs on the serving thread with nothing in flight. DEADLINE_EXCEEDED,
  // INVALID_ARGUMENT, NOT_FOUND: the old model serves on. Empty: there is nothing to reload.
  std::function<absl::Status()> reload;

  // Tells the metrics what the runner counts; the serving thread calls it now and then. May be
  // empty.
  std::function<void(Metrics& metrics)> publish;
};

class Server {
 public:
  // Listens at once. UNAVAILABLE: an address can't be listened on. `clock` outlives the server.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServerConfig& config,
                                                       const Clock* clock);

  // Answers calls until a signal says to end: then OK, with each accepted call complete, or ended
  // when --drain_timeout was over. INTERNAL: the runner broke; every accepted call has ended with
  // ENGINE_FAULT. Another error: a reload took the old model and brought no new one. When it
  // returns nothing listens, no call is left, and `model` is not used any more. Where a step hangs
  // it can't return: --liveness_timeout after the drain, at most, it ends the process with exit
  // code
  // 1. Once.
  absl::Status Serve(const ServerModel& model, ServerSignals& signals);

  // Where it listens, with the real port.
  const std::string& address() const { return grpc_->address(); }

  Metrics& metrics() { return metrics_; }

 private:
  Server(const ServerConfig& config, const Clock* clock);

  ChatStreamShared ForCalls();
  absl::Status StartAdmin();
  v1::GetModelResponse Describe(const ServerModel& model) const;
  SchedulerOptions ScheduleOptions(const ModelLimits& limits) const;
  absl::Status AnswerUntilTold(const ServerModel& model, ServerSignals& signals, ServingLoop& loop);
  ServingLoopHooks Hooks(const ServerModel& model, ServerSignals& signals);
  bool CheckLiveness(const ServingLoop& loop);  // whether it lives
  bool WaitForCalls(const ServingLoop& loop, absl::Duration timeout,
                    const std::function<bool()>& stop);
  absl::Status Reload(const ServerModel& model, ServerSignals& signals, ServingLoop& loop);
  void End(ServingLoop& loop, absl::Duration timeout);
  void EndLoop(ServingLoop& loop);

  const ServerConfig config_;
  const Clock* const clock_;
  Metrics metrics_;
  RequestLog log_;
  Admission admission_;
  RequestQueue queue_;
  WorkerPool pool_;
  ChatService::Model for_service_;  // before the calls that read it
  ChatService service_;
  Liveness liveness_;
  bool live_ = true;                  // as the last look at the loop found it
  std::unique_ptr<GrpcServer> grpc_;  // its threads use all of the above
  std::unique_ptr<AdminHttp> admin_;  // last, as it asks grpc_; null: none
};

}  // namespace glimpse

#endif  // GLIMPSE_SERVER_SERVER_H_
