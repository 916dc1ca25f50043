#ifndef MESH_CALL_TRACE_H_
#define MESH_CALL_TRACE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <unordered_map>

#include "absl/base/thread_annotations.h"
#include "mesh/base/mutex.h"
#include "mesh/options/endpoints.h"
#include "mesh/options/mode.h"
#include "mesh/telemetry/events.h"
#include "mesh/telemetry/observer.h"

namespace mesh::call {

// Writes down every decision of every call, with all that it was made from, as
// text: one line per event, in `key=value` words. mesh/simulation/replay.h
// plays it again, and a person reads it to learn what became of a call.
//
//   call id=1 t=.. service=cart method=/shop.Cart/Get deadline=.. idempotent=1
//       ... the policy
//   pick id=1 t=.. reason=first attempt=1 result=used endpoint=10.0.0.1:80
//       random=9f3c candidates=10.0.0.1:80=2,10.0.0.2:80=5 | picker=1
//       members=...
//   attempt id=1 ... code=14 never_sent=0
//   retry id=1 ... verdict=retry delay=0
//   refusal id=1 t=.. guard=max_waiting observed=0 code=8 delay=0 | why=...
//   end id=1 t=.. code=0 attempts=2
//
// Beside the calls it has what becomes of endpoints: "picker", "health" and
// "probe" lines.
//
// Times are nanoseconds of the monotonic clock. The observer costs microseconds
// per event: it is for tests and for looking into trouble, not for permanent
// use. Thread-safe.
class TraceRecorder final : public telemetry::Observer {
 public:
  // `policy` is the balancing policy of the recorded services. Once about
  // `max_bytes` have been written, calls that begin later are left out.
  explicit TraceRecorder(
      options::BalancingPolicy policy = options::BalancingPolicy::kLeastRequest,
      size_t max_bytes = 64 << 20);

  // All that was written.
  std::string Text() const;

  void OnPicker(const telemetry::PickerEvent& event) override;
  void OnCallStart(const telemetry::CallInfo& call,
                   const telemetry::CallStartEvent& event) override;
  void OnPick(const telemetry::CallInfo& call,
              const telemetry::PickEvent& event) override;
  void OnAttemptEnd(const telemetry::CallInfo& call,
                    const telemetry::AttemptEvent& event) override;
  void OnRetryDecision(const telemetry::CallInfo& call,
                       const telemetry::RetryEvent& event) override;
  void OnRefusal(const telemetry::CallInfo& call,
                 const telemetry::RefusalEvent& event) override;
  void OnCallEnd(const telemetry::CallInfo& call,
                 const telemetry::CallEvent& event) override;
  void OnHealth(const telemetry::HealthEvent& event) override;
  void OnProbe(const telemetry::ProbeEvent& event) override;
  bool WantsPicks() const override { return true; }

 private:
  // The call's number, or 0 when it is not recorded.
  uint64_t IdOf(const telemetry::CallInfo& call) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Append(const std::string& line) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // Constant.
  const size_t max_bytes_;

  mutable base::Mutex mu_;
  std::string text_ ABSL_GUARDED_BY(mu_);
  uint64_t calls_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t pickers_ ABSL_GUARDED_BY(mu_) = 0;
  std::unordered_map<const telemetry::CallInfo*, uint64_t> ids_
      ABSL_GUARDED_BY(mu_);
  // The numbers of pickers, by identity. One that has gone stays until another
  // picker has its address.
  std::unordered_map<const void*, uint64_t> picker_ids_ ABSL_GUARDED_BY(mu_);
};

// The lines that a recorder writes, without what stands after " |". For code
// that compares them.
namespace trace {

// The text without white space, '%', '|', ',' and '='. `Unescape` reverts it.
std::string Escape(absl::string_view text);
std::string Unescape(absl::string_view text);

std::string PickLine(uint64_t id, const telemetry::PickEvent& event);
std::string AttemptLine(uint64_t id, const telemetry::AttemptEvent& event);
std::string RetryLine(uint64_t id, const telemetry::RetryEvent& event);
std::string RefusalLine(uint64_t id, const telemetry::RefusalEvent& event);
std::string EndLine(uint64_t id, const telemetry::CallEvent& event);

// "idle", "connecting", "ready", "failed".
absl::string_view NameOf(cluster::Readiness readiness);
// "off", "observe", "enforce".
absl::string_view NameOf(options::Mode mode);

}  // namespace trace
}  // namespace mesh::call

#endif  // MESH_CALL_TRACE_H_
