#include "bench/trace/api_log.h"

#include <cupti.h>

#include <chrono>

#include "preprocess/check.h"

namespace glimpse::bench {

using Clock = std::chrono::steady_clock;

struct ApiLog::State {
  ApiLog* log = nullptr;
  CUpti_SubscriberHandle subscriber = nullptr;
  int depth = 0;  // calls within calls
  Clock::time_point start;

  static void CUPTIAPI OnCall(void* user, CUpti_CallbackDomain, CUpti_CallbackId,
                              const void* data) {
    State* const state = static_cast<State*>(user);
    const auto* call = static_cast<const CUpti_CallbackData*>(data);
    if (call->callbackSite == CUPTI_API_ENTER) {
      if (state->depth++ == 0) state->start = Clock::now();
    } else if (--state->depth == 0) {
      const std::chrono::duration<double, std::micro> time = Clock::now() - state->start;
      state->log->Note(call->functionName, time.count());
    }
  }
};

ApiLog::ApiLog() : state_(std::make_unique<State>()) {
  state_->log = this;
  GLIMPSE_CHECK(cuptiSubscribe(&state_->subscriber, State::OnCall, state_.get()) == CUPTI_SUCCESS,
                "CUPTI is not available");
  for (CUpti_CallbackDomain domain : {CUPTI_CB_DOMAIN_RUNTIME_API, CUPTI_CB_DOMAIN_DRIVER_API}) {
    GLIMPSE_CHECK(cuptiEnableDomain(1, state_->subscriber, domain) == CUPTI_SUCCESS,
                  "cuptiEnableDomain");
  }
}

ApiLog::~ApiLog() { cuptiUnsubscribe(state_->subscriber); }

void ApiLog::Note(const char* name, double host_us) {
  ApiCalls& calls = calls_[{phase_, name}];
  ++calls.count;
  calls.host_us += host_us;
}

}  // namespace glimpse::bench
