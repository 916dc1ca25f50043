#include "mesh/resilience/admission.h"

namespace mesh::resilience {

Admission::Admission(const config::GuardOptions&, absl::Time) {}
Admission::~Admission() = default;
void Admission::SetOptions(const config::GuardOptions&) {}
std::optional<Refusal> Admission::Admit(absl::string_view,
                                        const config::RateLimitOptions&,
                                        absl::Time, base::Random*, Listener*,
                                        Ticket*) {
  return std::nullopt;
}
void Admission::OnCallEnd(const Ticket&, absl::StatusCode, absl::Time) {}
bool Admission::TryWait(Listener*) { return true; }
void Admission::EndWait() {}
bool Admission::TryRetry(Listener*) { return true; }
void Admission::EndRetry() {}
Admission::State Admission::Snapshot(absl::Time) const { return {}; }

}  // namespace mesh::resilience
