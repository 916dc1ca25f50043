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
#include "mesh/security/source.h"
#include "mesh/service/runtime.h"
#include "mesh/telemetry/snapshot.h"

namespace mesh::front {

// Numbers of generations. Each is greater than all before it, whatever it is
// for, so it says what came first. Thread-safe.
class Generations {
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
};

// Keeps the last good identity of one source, and tells those who use it of
// each new one. Logs and counts what the source says. Thread-safe.
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
  // wait for the first identity for `start_timeout` at most. That of `before`,
  // which may be null, holds until then.
  static std::shared_ptr<IdentityHolder> Make(
      std::string name, std::shared_ptr<service::Runtime> runtime,
      std::shared_ptr<Generations> generations,
      std::shared_ptr<security::IdentitySource> source,
      absl::Duration start_timeout, const IdentityHolder* before = nullptr);

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
                 std::shared_ptr<Generations> generations,
                 std::shared_ptr<security::IdentitySource> source)
      : name_(std::move(name)),
        runtime_(std::move(runtime)),
        generations_(std::move(generations)),
        source_(std::move(source)) {}

  void GiveUpWaiting(absl::Duration waited);
  void Tell();

  // Constant.
  const std::string name_;
  const std::shared_ptr<service::Runtime> runtime_;
  const std::shared_ptr<Generations> generations_;
  const std::shared_ptr<security::IdentitySource> source_;

  mutable base::Mutex mu_;
  IdentityState state_ ABSL_GUARDED_BY(mu_);
  std::string refusal_ ABSL_GUARDED_BY(mu_);  // Empty: all is well.
  // How often a publish was refused, by reason.
  std::map<std::string, uint64_t> refused_ ABSL_GUARDED_BY(mu_);
  std::vector<std::weak_ptr<User>> users_ ABSL_GUARDED_BY(mu_);
};

}  // namespace mesh::front

#endif  // MESH_FRONT_IDENTITY_HOLDER_H_
