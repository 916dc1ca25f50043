#ifndef MESH_SIMULATION_TALLY_H_
#define MESH_SIMULATION_TALLY_H_

#include <cstddef>
#include <cstdint>

#include "mesh/simulation/call_state.h"
#include "mesh/simulation/parts.h"
#include "mesh/simulation/simulation.h"
#include "mesh/telemetry/observer.h"

namespace mesh::simulation {

// Counts what happens into the result, and hands each event on: to the
// invariants, and to the user's observer.
class Tally final : public telemetry::Observer {
 public:
  explicit Tally(const Parts& parts);

  // ---- telemetry::Observer ----
  bool WantsPicks() const override { return true; }
  void OnCallStart(const telemetry::CallInfo& info,
                   const telemetry::CallStartEvent& event) override;
  void OnPick(const telemetry::CallInfo& info,
              const telemetry::PickEvent& event) override;
  void OnAttemptEnd(const telemetry::CallInfo& info,
                    const telemetry::AttemptEvent& event) override;
  void OnRetryDecision(const telemetry::CallInfo& info,
                       const telemetry::RetryEvent& event) override;
  void OnRefusal(const telemetry::CallInfo& info,
                 const telemetry::RefusalEvent& event) override;
  void OnCallEnd(const telemetry::CallInfo& info,
                 const telemetry::CallEvent& event) override;
  void OnHealth(const telemetry::HealthEvent& event) override;
  void OnProbe(const telemetry::ProbeEvent& event) override;
  void OnPicker(const telemetry::PickerEvent& event) override;

  // ---- What no observer is told of ----
  void SetUp();  // Call it once all servers are known.
  void OnCallBegin(const CallState& call);
  void OnAttemptStart(const CallState& call, uint32_t server);
  void OnExecuted(uint32_t server) { ++result_.endpoints[server].executed; }
  void OnWasted(uint32_t server) { ++result_.endpoints[server].wasted; }
  void OnProbeSent(uint32_t server);
  void OnProbeEnd(bool answered) { Mix(0x97d0 + answered); }
  void OnSecondDial() { ++result_.second_dials; }
  void OnReplaced(uint32_t server) {
    ++result_.replaced;
    Mix(0x5ec07d + server);
  }
  void OnBroken(uint32_t server) {
    ++result_.broken;
    Mix(0xb40ce7 + server);
  }
  void OnHanging() { ++result_.hanging; }
  void OnEvent() { ++result_.events; }

  // Calls of all tiers that have ended, or begun.
  uint64_t ended() const { return ended_; }
  uint64_t begun() const;
  Result& result() { return result_; }

 private:
  // Into the hash of all decisions.
  void Mix(uint64_t value) {
    result_.hash = (result_.hash ^ value) * 0x9e3779b97f4a7c15u;
    result_.hash ^= result_.hash >> 29;
  }
  Result::Step* StepAt(int64_t time);
  Result::Tier& TierOf(const CallState& call);

  const Parts& parts_;
  const Timeline& time_;
  Invariants& invariants_;
  const int64_t step_;
  telemetry::Observer* const user_;
  const bool user_wants_picks_;
  uint64_t ended_ = 0;
  Result result_;
};

}  // namespace mesh::simulation

#endif  // MESH_SIMULATION_TALLY_H_
