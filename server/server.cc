#include "server/server.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "preprocess/status_macros.h"
#include "server/operator_line.h"

namespace glimpse {
namespace {

constexpr absl::Duration kLastWritesTimeout = absl::Seconds(2);
// For calls that are just being sent, which get their refusal: a client whose connection is cut in
// that moment may never hear of it.
constexpr absl::Duration kLastCallsTimeout = absl::Seconds(1);
// Who has just had an answer often asks again at once. gRPC 1.51 ends calls that come into its
// shutdown as CANCELLED; within this time before it they are still told DRAINING.
constexpr absl::Duration kLastRefusalsTime = absl::Milliseconds(200);

// How often the loop's progress is looked at.
absl::Duration LookInterval(absl::Duration liveness_timeout) {
  return std::min(liveness_timeout / 4, absl::Seconds(1));
}

bool Never() { return false; }

}  // namespace

Server::Server(const ServerConfig& config, const Clock* clock)
    : config_(config),
      clock_(clock),
      metrics_(GLIMPSE_VERSION, config.engine.buckets),
      log_(STDERR_FILENO),
      admission_(config.queue.max_bytes),
      queue_(config.queue),
      pool_(config.preprocess_threads, static_cast<int>(config.queue.max_requests)),
      service_(ForCalls()),
      liveness_(config.liveness_timeout) {}

ChatStreamShared Server::ForCalls() {
  ChatStreamShared shared;
  shared.clock = clock_;
  shared.pool = &pool_;
  shared.queue = &queue_;
  shared.admission = &admission_;
  shared.stall_timeout = config_.stall_timeout;
  shared.metrics = &metrics_;
  shared.log = config_.request_log ? &log_ : nullptr;
  return shared;
}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerConfig& config,
                                                      const Clock* clock) {
  std::unique_ptr<Server> server(new Server(config, clock));
  GLIMPSE_ASSIGN_OR_RETURN(server->grpc_, GrpcServer::Start(config.grpc, &server->service_));
  GLIMPSE_RETURN_IF_ERROR(server->StartAdmin());
  return server;
}

absl::Status Server::StartAdmin() {
  if (config_.admin_listen.empty()) return absl::OkStatus();
  AdminHttpOptions options;
  options.listen = config_.admin_listen;
  options.metrics_text = [this] { return metrics_.Text(); };
  options.is_live = [this] { return grpc_->live(); };
  options.is_ready = [this] { return grpc_->ready(); };
  GLIMPSE_ASSIGN_OR_RETURN(admin_, AdminHttp::Start(std::move(options)));
  TellOperator(absl::StrCat("metrics on http://", admin_->address(), "/metrics"));
  return absl::OkStatus();
}

absl::Status Server::Serve(const ServerModel& model, ServerSignals& signals) {
  for_service_ = {model.served.get(), model.default_sampling, Describe(model)};
  ServingLoop loop(ScheduleOptions(model.limits), &queue_, model.runner.get(), clock_,
                   Hooks(model, signals));
  signals.Defer();
  metrics_.OnWeights(1, 1);
  service_.Serve(&for_service_);
  grpc_->SetReady(true);
  TellOperator(absl::StrCat("listening on ", address()));
  absl::Status status = AnswerUntilTold(model, signals, loop);
  if (status.ok()) TellOperator(absl::StrCat("draining ", admission_.calls(), " calls"));
  End(loop, status.ok() ? config_.drain_timeout : absl::ZeroDuration());
  status.Update(loop.fault());  // of the drain
  return status;
}

ServingLoopHooks Server::Hooks(const ServerModel& model, ServerSignals& signals) {
  ServingLoopHooks hooks;
  hooks.metrics = &metrics_;
  if (model.publish) hooks.publish = [this, &model] { model.publish(metrics_); };
  hooks.broken = [this, &signals] {
    admission_.Close();
    grpc_->Fail();
    signals.Wake();
  };
  return hooks;
}

absl::Status Server::AnswerUntilTold(const ServerModel& model, ServerSignals& signals,
                                     ServingLoop& loop) {
  while (true) {
    const Wanted wanted = signals.Wait(LookInterval(config_.liveness_timeout));
    GLIMPSE_RETURN_IF_ERROR(loop.fault());
    if (wanted == Wanted::kEnd) return absl::OkStatus();
    if (wanted == Wanted::kReload) GLIMPSE_RETURN_IF_ERROR(Reload(model, signals, loop));
    CheckLiveness(loop);
  }
}

bool Server::CheckLiveness(const ServingLoop& loop) {
  const bool live = liveness_.Look(clock_->Now(), loop.progress(), loop.has_work());
  if (live == live_) return live;  // as nearly always
  TellOperator(live ? "steps come to an end again" : "no step has come to an end for too long");
  live_ = live;
  grpc_->SetLive(live);
  return live;
}

// False: there are calls when `timeout` is over, or when `stop` says so.
bool Server::WaitForCalls(const ServingLoop& loop, absl::Duration timeout,
                          const std::function<bool()>& stop) {
  const absl::Time deadline = absl::Now() + timeout;
  const absl::Duration look = LookInterval(config_.liveness_timeout);
  while (!admission_.WaitUntilEmpty(std::min(look, deadline - absl::Now()))) {
    CheckLiveness(loop);
    if (absl::Now() >= deadline || stop()) return false;
  }
  return true;
}

absl::Status Server::Reload(const ServerModel& model, ServerSignals& signals, ServingLoop& loop) {
  if (!model.reload) return absl::OkStatus();
  TellOperator(absl::StrCat("reloading after ", admission_.calls(), " calls"));
  admission_.Suspend();
  grpc_->SetReady(false);
  absl::Status status = absl::DeadlineExceededError("calls are still running");
  const bool idle = WaitForCalls(loop, config_.drain_timeout, [&] { return signals.end_wanted(); });
  if (signals.end_wanted()) return absl::OkStatus();
  if (idle && !loop.RunWhenIdle([&] { status = model.reload(); })) return loop.fault();
  const bool old_one_serves = absl::IsDeadlineExceeded(status) || absl::IsInvalidArgument(status) ||
                              absl::IsNotFound(status);
  if (!status.ok() && !old_one_serves) return status;
  TellOperator(status.ok() ? "reloaded" : absl::StrCat("not reloaded: ", status.message()));
  admission_.Open();
  grpc_->SetReady(true);
  return absl::OkStatus();
}

// Everything that was accepted is answered or refused when this returns.
void Server::End(ServingLoop& loop, absl::Duration timeout) {
  admission_.Close();  // first: who sees that the server is not ready is sure to be refused
  grpc_->SetReady(false);
  WaitForCalls(loop, timeout, Never);
  EndLoop(loop);  // calls that are still there end UNAVAILABLE
  admission_.WaitUntilEmpty(kLastWritesTimeout);
  absl::SleepFor(kLastRefusalsTime);
  grpc_->Shutdown(kLastCallsTimeout);
  admin_.reset();
}

// A step that hangs lets the loop's thread never end, nor anything that waits for it: then the
// process ends without them. A step that comes to an end does so within --liveness_timeout.
void Server::EndLoop(ServingLoop& loop) {
  const absl::Duration look = LookInterval(config_.liveness_timeout);
  const absl::Time deadline = absl::Now() + config_.liveness_timeout;
  while (!loop.TryDrain(absl::InfinitePast(), look)) {
    if (CheckLiveness(loop) && absl::Now() < deadline) continue;
    grpc_->Fail();
    TellOperator("glimpse-server: a step hangs: ended without waiting for it");
    std::_Exit(EXIT_FAILURE);
  }
}

v1::GetModelResponse Server::Describe(const ServerModel& model) const {
  v1::GetModelResponse description = model.description;
  description.set_vocabulary_size(model.limits.vocabulary_size);
  description.set_server_version(GLIMPSE_VERSION);
  v1::Limits* limits = description.mutable_limits();
  limits->set_max_context_tokens(model.limits.max_context);
  limits->set_image_tokens(model.limits.image_rows);
  limits->set_max_image_bytes(config_.images.max_bytes);
  limits->set_max_image_pixels(config_.images.max_pixels);
  limits->set_max_image_side(config_.images.max_side);
  limits->set_max_message_bytes(config_.grpc.max_message_bytes);
  limits->set_max_batch_size(model.limits.max_batch_size);
  return description;
}

SchedulerOptions Server::ScheduleOptions(const ModelLimits& limits) const {
  SchedulerOptions options;
  options.limits = limits;
  options.buckets = config_.engine.buckets;
  options.max_prefill_tokens = config_.engine.max_prefill_tokens;
  options.max_vision_rows = config_.engine.max_vision_rows;
  options.policy = config_.batch_policy;
  return options;
}

}  // namespace glimpse
