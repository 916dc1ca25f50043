#ifndef MESH_FRONT_IDENTITY_HOLDER_H_
#define MESH_FRONT_IDENTITY_HOLDER_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "mesh/base/mutex.h"
#include "mesh/log.h"
#include "mesh/options/security.h"
#include "mesh/security/expiry.h"
#include "mesh/security/source.h"
#include "mesh/service/runtime.h"
#include "mesh/telemetry/snapshot.h"

namespace mesh::front {

// Numbers of generations. Each is greater than all before it, whatever it is
// for, so it says what came first. Thread-safe.
class GenerationCounter {
 public:
  uint64_t Next() { return last_.fetch_add(1, std::memory_order_relaxed) + 1; }

 private:
  std::atomic<uint64_t> last_{0};
};

// What is known of an identity at one moment.
struct IdentityState {
  security::IdentityPtr identity;  // Null: there is none yet.
  uint64_t generation = 0;         // A new one with each change of the state.
  // Peers that were believed by an older generation may be so no longer.
  uint64_t withdrawn_before = 0;
  // Without an identity: why calls fail that need it. OK: they wait.
  absl::Status missing;
  // This identity, or an earlier one of its source, had revocation lists.
  bool had_crls = false;
};

// What `mode` means in this state. The default requires lists once there were
// any: a source that loses them must not admit whom they revoked.
options::CrlMode CrlModeOf(options::CrlMode mode, const IdentityState& state);

// Keeps the last good identity of one source, and tells those who use it of
// each new one. Counts what the source says, and logs it on the control thread.
// Alarms there when the identity is not renewed in time. Thread-safe.
class IdentityHolder final
    : public security::IdentityListener,
      public std::enable_shared_from_this<IdentityHolder> {
 public:
  class User {
   public:
    virtual ~User() = default;
    // state() has changed. On any thread, and perhaps on several at once. It
    // must not block.
    virtual void OnIdentityChange() = 0;
  };

  // `name`: "process", or the service that has an identity of its own. Calls
  // wait for the first identity for `start_timeout` at most. What `before`,
  // which may be null, holds at Start() is in force until then. Nothing is
  // heard or said before Start().
  static std::shared_ptr<IdentityHolder> Make(
      std::string name, std::shared_ptr<service::Runtime> runtime,
      std::shared_ptr<GenerationCounter> generations,
      std::shared_ptr<security::IdentitySource> source,
      absl::Duration start_timeout,
      std::shared_ptr<IdentityHolder> before = nullptr);

  // Hears the source from now on, in place of `before`, which stays as it is.
  // Further calls do nothing. The source may be the application's code; then
  // the caller holds no lock.
  void Start();

  // Tells `user` of each later change while it is there.
  void Add(std::weak_ptr<User> user);

  const std::string& name() const { return name_; }
  IdentityState state() const;
  telemetry::IdentitySnapshot Metrics() const;

  // security::IdentityListener
  void OnIdentity(security::IdentityPtr identity) override;
  void OnNotice(const security::IdentityNotice& notice) override;

 private:
  IdentityHolder(std::string name, std::shared_ptr<service::Runtime> runtime,
                 std::shared_ptr<GenerationCounter> generations,
                 std::shared_ptr<security::IdentitySource> source,
                 absl::Duration start_timeout,
                 std::shared_ptr<IdentityHolder> before)
      : name_(std::move(name)),
        runtime_(std::move(runtime)),
        generations_(std::move(generations)),
        source_(std::move(source)),
        start_timeout_(start_timeout),
        before_(std::move(before)) {}

  // Takes over what `before` holds, and ends what that hears.
  void Replace(IdentityHolder* before);

  // On the control thread, at `at`. Looks whether the identity of this
  // generation has not been renewed in time.
  void LookAt(absl::Time at, uint64_t generation);
  void Look(uint64_t generation);
  void GiveUpWaiting();
  void Tell();
  // Log and observers are the application's code, and a source calls with its
  // own locks held. So they are told on the control thread.
  void Log(LogSeverity severity, std::string line);

  // Constant.
  const std::string name_;
  const std::shared_ptr<service::Runtime> runtime_;
  const std::shared_ptr<GenerationCounter> generations_;
  const std::shared_ptr<security::IdentitySource> source_;
  const absl::Duration start_timeout_;

  mutable base::Mutex mu_;
  bool started_ ABSL_GUARDED_BY(mu_) = false;
  std::shared_ptr<IdentityHolder> before_ ABSL_GUARDED_BY(mu_);  // At first.
  bool replaced_ ABSL_GUARDED_BY(mu_) = false;  // Another one has started.
  IdentityState state_ ABSL_GUARDED_BY(mu_);
  security::ExpiryAlarm alarm_ ABSL_GUARDED_BY(mu_);  // For state_.identity.
  // An identity of source_ had revocation lists.
  bool own_crls_ ABSL_GUARDED_BY(mu_) = false;
  std::string refusal_ ABSL_GUARDED_BY(mu_);  // Empty: all is well.
  // How often a publish was refused, by reason.
  std::map<std::string, uint64_t> refused_ ABSL_GUARDED_BY(mu_);
  std::vector<std::weak_ptr<User>> users_ ABSL_GUARDED_BY(mu_);
};

}  // namespace mesh::front

#endif  // MESH_FRONT_IDENTITY_HOLDER_H_
