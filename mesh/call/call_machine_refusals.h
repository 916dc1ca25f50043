#ifndef MESH_CALL_CALL_MACHINE_REFUSALS_H_
#define MESH_CALL_CALL_MACHINE_REFUSALS_H_

#include <string>

#include "absl/time/time.h"
#include "mesh/call/call_machine.h"
#include "mesh/resilience/admission.h"

namespace mesh::call {

// What guards say, told on.
class CallMachine::Refusals final : public resilience::Admission::Listener {
 public:
  // `why`: where the reason of a refusal that is enforced goes. May be null.
  Refusals(const CallMachine* machine, absl::Time now, std::string* why)
      : machine_(machine), now_(now), why_(why) {}

  void OnRefusal(const resilience::Refusal& refusal) override {
    if (!refusal.observed && why_ != nullptr) *why_ = refusal.why;
    machine_->ReportRefusal(refusal.guard, refusal.observed, refusal.code,
                            refusal.why, absl::ZeroDuration(), now_);
  }

 private:
  const CallMachine* const machine_;
  const absl::Time now_;
  std::string* const why_;
};

}  // namespace mesh::call

#endif  // MESH_CALL_CALL_MACHINE_REFUSALS_H_
