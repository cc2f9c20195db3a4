// Named points at the hand-overs between threads, where tests force delays and faults that rarely
// come by themselves. In a build without the CMake option GLIMPSE_FAIL_POINTS they are no code.
//
//   GLIMPSE_RETURN_IF_ERROR(GLIMPSE_FAIL_POINT(kQueue));  // the place can fail
//   GLIMPSE_FAIL_POINT(kWrite).IgnoreError();             // it can't: delays only
//
// What happens at them is set by SetFailPoints. A point draws by (seed, its name, how often it was
// passed): the same seed gives the n-th passage of a point the same delay and fault in each run,
// whichever thread it belongs to. Passing orders no memory between threads, so that the points hide
// no race from ThreadSanitizer.
#ifndef GLIMPSE_PREPROCESS_FAIL_POINT_H_
#define GLIMPSE_PREPROCESS_FAIL_POINT_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

#ifdef GLIMPSE_FAIL_POINTS
#define GLIMPSE_FAIL_POINT(point) ::glimpse::PassFailPoint(::glimpse::FailPoint::point)
#else
#define GLIMPSE_FAIL_POINT(point) ::absl::OkStatus()
#endif

namespace glimpse {

enum class FailPoint {
  kPreprocess,  // "preprocess": a request is prepared on the pool; can fail
  kQueue,       // "queue": it is put into the queue; can fail
  kAdmission,   // "admission": it gets a slot and its KV blocks; can fail
  kLaunch,      // "launch": a step is launched; can fail
  kSample,      // "sample": a step is finished and its tokens are taken; can fail
  kNotify,      // "notify": the reader of a stream is told that there is something
  kWrite,       // "write": the reader takes what there is
};

// Whether this build has the points.
constexpr bool HasFailPoints() {
#ifdef GLIMPSE_FAIL_POINTS
  return true;
#else
  return false;
#endif
}

// `spec`: "point=action,point=action,...", with the actions
//   error(P)    INTERNAL with probability P
//   delay(D;P)  sleeps up to D (as "5ms"), with probability P
//   yield(P)    lets another thread run, with probability P
// Of several actions of a point, four at most, each is drawn for itself. Replaces what was set; ""
// is nothing. While no other thread passes a point. INVALID_ARGUMENT: a spec that is none, or an
// error at a point that can't fail; FAILED_PRECONDITION: a build without points.
absl::Status SetFailPoints(absl::string_view spec, uint64_t seed);

// Use GLIMPSE_FAIL_POINT. OK, or the injected error.
absl::Status PassFailPoint(FailPoint point);

}  // namespace glimpse

#endif  // GLIMPSE_PREPROCESS_FAIL_POINT_H_
