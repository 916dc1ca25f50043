#include "mesh/resilience/caps.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace mesh::resilience {
namespace {

using base::Guard;
using options::Mode;

constexpr auto relaxed = std::memory_order_relaxed;

int64_t Most(int cap) { return cap > 0 ? cap : CapsGuard::kNoBound; }

}  // namespace

void CapsGuard::SetOptions(const options::CapsOptions& options) {
  mode_.store(options.mode, relaxed);
  max_calls_.store(Most(options.max_calls), relaxed);
  max_waiting_.store(Most(options.max_waiting), relaxed);
  max_streams_.store(Most(options.max_streams), relaxed);
}

int64_t CapsGuard::bound() const {
  return mode_.load(relaxed) == Mode::kOff ? kNoBound
                                           : max_calls_.load(relaxed);
}

bool CapsGuard::Admit(Asking* asking) {
  const Mode mode = mode_.load(relaxed);
  if (asking->ticket->stream && !AdmitStream(asking, mode)) return false;
  asking->calls = calls_.Take();
  const int64_t most = max_calls_.load(relaxed);
  if (asking->calls <= most || mode == Mode::kOff) return true;
  if (mode == Mode::kObserve) {
    asking->Observe(Guard::kMaxCalls);
    return true;
  }
  Undo(*asking);
  return asking->Refuse(
      Guard::kMaxCalls, absl::StatusCode::kResourceExhausted,
      absl::StrCat("too many calls are under way: guards.caps.max_calls is ",
                   most, ". Make fewer at once, or raise the cap."));
}

bool CapsGuard::AdmitStream(Asking* asking, Mode mode) {
  const int64_t most = max_streams_.load(relaxed);
  if (streams_.Take() <= most || mode == Mode::kOff) return true;
  if (mode == Mode::kObserve) {
    asking->Observe(Guard::kMaxStreams);
    return true;
  }
  streams_.Give();
  return asking->Refuse(
      Guard::kMaxStreams, absl::StatusCode::kResourceExhausted,
      absl::StrCat("too many streams are open: guards.caps.max_streams is ",
                   most, ". Keep fewer open, or raise the cap."));
}

void CapsGuard::Undo(const Asking& asking) {
  calls_.Give();
  if (asking.ticket->stream) streams_.Give();
}

bool CapsGuard::TryWait(RefusalListener* listener) {
  const Mode mode = mode_.load(relaxed);
  const int64_t most = max_waiting_.load(relaxed);
  if (waiting_.Take() <= most || mode == Mode::kOff) return true;
  Refusal refusal;
  refusal.guard = Guard::kMaxWaiting;
  if (mode == Mode::kObserve) {
    refusal.observed = true;
  } else {
    waiting_.Give();
    refusal.why = absl::StrCat(
        "too many calls wait for an endpoint: guards.caps.max_waiting is ",
        most, ". Make fewer at once, or raise the cap.");
  }
  if (listener != nullptr) listener->OnRefusal(refusal);
  return mode == Mode::kObserve;
}

void CapsGuard::Describe(AdmissionState* state) const {
  state->calls = calls_.count();
  state->streams = streams_.count();
  state->waiting = waiting_.count();
  state->retries = retries_.count();
}

}  // namespace mesh::resilience
