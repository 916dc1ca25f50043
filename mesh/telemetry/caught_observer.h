#ifndef MESH_TELEMETRY_CAUGHT_OBSERVER_H_
#define MESH_TELEMETRY_CAUGHT_OBSERVER_H_

#include <memory>
#include <utility>

#include "mesh/base/foreign_code.h"
#include "mesh/telemetry/observer.h"

namespace mesh::telemetry {

// Wraps an observer of the application. Its exceptions are caught and counted;
// an event on which it throws counts as ignored. Thread-safe.
class CaughtObserver final : public Observer {
 public:
  // Neither is null. `code` counts what `observer` throws.
  CaughtObserver(std::shared_ptr<Observer> observer,
                 std::shared_ptr<base::ForeignCode> code)
      : observer_(std::move(observer)), code_(std::move(code)) {}

  void OnCallStart(const CallInfo& call, const CallStartEvent& event) override {
    code_->Run([&] { observer_->OnCallStart(call, event); });
  }
  void OnPick(const CallInfo& call, const PickEvent& event) override {
    code_->Run([&] { observer_->OnPick(call, event); });
  }
  void OnAttemptEnd(const CallInfo& call, const AttemptEvent& event) override {
    code_->Run([&] { observer_->OnAttemptEnd(call, event); });
  }
  void OnRetryDecision(const CallInfo& call, const RetryEvent& event) override {
    code_->Run([&] { observer_->OnRetryDecision(call, event); });
  }
  void OnRefusal(const CallInfo& call, const RefusalEvent& event) override {
    code_->Run([&] { observer_->OnRefusal(call, event); });
  }
  void OnCallEnd(const CallInfo& call, const CallEvent& event) override {
    code_->Run([&] { observer_->OnCallEnd(call, event); });
  }
  void OnHealth(const HealthEvent& event) override {
    code_->Run([&] { observer_->OnHealth(event); });
  }
  void OnProbe(const ProbeEvent& event) override {
    code_->Run([&] { observer_->OnProbe(event); });
  }
  void OnIdentity(const IdentityEvent& event) override {
    code_->Run([&] { observer_->OnIdentity(event); });
  }
  void OnDenial(const DenialEvent& event) override {
    code_->Run([&] { observer_->OnDenial(event); });
  }
  void OnPortFailure(const PortFailureEvent& event) override {
    code_->Run([&] { observer_->OnPortFailure(event); });
  }
  void OnPicker(const PickerEvent& event) override {
    code_->Run([&] { observer_->OnPicker(event); });
  }
  bool WantsPicks() const override {
    bool wants = false;
    code_->Run([&] { wants = observer_->WantsPicks(); });
    return wants;
  }

 private:
  const std::shared_ptr<Observer> observer_;
  const std::shared_ptr<base::ForeignCode> code_;
};

}  // namespace mesh::telemetry

#endif  // MESH_TELEMETRY_CAUGHT_OBSERVER_H_
