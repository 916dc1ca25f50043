#ifndef MESH_FRONT_DOORS_H_
#define MESH_FRONT_DOORS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "grpcpp/security/auth_metadata_processor.h"
#include "grpcpp/server_builder.h"
#include "mesh/base/mutex.h"
#include "mesh/base/snapshot_slot.h"
#include "mesh/front/caller_verifier.h"
#include "mesh/front/identity_holder.h"
#include "mesh/front/shown_leaves.h"
#include "mesh/grpc/server_credentials.h"
#include "mesh/options/security.h"
#include "mesh/security/audit.h"
#include "mesh/security/authorization.h"
#include "mesh/security/peer.h"
#include "mesh/server/guard.h"
#include "mesh/server/listen.h"
#include "mesh/service/runtime.h"
#include "mesh/telemetry/snapshot.h"

namespace mesh::front {

// The ports on which the servers of this process take calls. All have the same
// identity, trust, mode and rules, those of the configuration in force. The
// servers keep it, so the ports go on as they are when the Mesh is gone.
// Thread-safe.
class Doors final : public IdentityHolder::User,
                    public std::enable_shared_from_this<Doors> {
 public:
  explicit Doors(std::shared_ptr<service::Runtime> runtime);

  // What holds from now on. `identity` is null where the process has none.
  // `rules` has the options, too. One call at a time.
  void Apply(std::shared_ptr<IdentityHolder> identity,
             std::shared_ptr<const security::Authorization> rules);

  // Adds a port of mesh to `builder`; see Mesh::Listen().
  absl::StatusOr<std::shared_ptr<server::Attachment>> Listen(
      grpc::ServerBuilder* builder, absl::string_view address, int* port,
      std::shared_ptr<grpc::AuthMetadataProcessor> processor);

  // Tells `door` of the present state, and of each change while it is there.
  // Listen() does so for its own.
  void Add(const std::shared_ptr<server::ServerDoor>& door);

  telemetry::ServerSnapshot Metrics() const;

  // IdentityHolder::User
  void OnIdentityChange() override;

 private:
  using OpenDoors = std::vector<std::shared_ptr<server::ServerDoor>>;

  // The rules in force, and what was counted since they are.
  struct Rules {
    // `before` is what was in force until now. Null: nothing was.
    Rules(std::shared_ptr<const security::Authorization> made,
          const Rules* before);
    security::Decision Decide(const security::Peer& peer,
                              absl::string_view path,
                              absl::Span<const security::Header> headers) const;

    const std::shared_ptr<const security::Authorization> authorization;
    // For callers without TLS that the mode takes no longer, and that have time
    // to leave: the rules, and the mode that took them. Null: it still does.
    std::shared_ptr<const security::Authorization> leaving;
    options::ServerMode leaving_mode = options::ServerMode::kPlaintext;
    mutable security::RefusalCounts counts;
  };

  // Tells `doors`, which are all, of the present trust. `always`: also if it is
  // not new. `withdrawn`: whatever the identity is, fewer peers are believed.
  void Renew(bool always, bool withdrawn, const OpenDoors& doors)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(order_);
  bool Admit(const server::GuardedCall& call);
  core::ServerPair Pair() const;
  // What a port takes. Before the first Apply() it takes nothing.
  server::Wires WiresNow() const;
  void Audit(const server::GuardedCall& call,
             const security::Decision& decision);
  OpenDoors Open() const ABSL_LOCKS_EXCLUDED(mu_);
  // They may be the last references to a port, and with it to the application's
  // processor. Who calls here may hold locks, so that is destroyed on the
  // control thread.
  void LetGo(OpenDoors doors) const ABSL_LOCKS_EXCLUDED(order_, mu_);

  // Constant.
  const std::shared_ptr<service::Runtime> runtime_;
  const size_t max_peers_;
  // Verifiers outlive this object now and then.
  const std::shared_ptr<CallerCounts> callers_ =
      std::make_shared<CallerCounts>();

  base::SnapshotSlot<Rules> rules_;  // What each call reads. Null at first.
  security::AuditLimit audit_limit_;

  // Held while ports are told, so that they hear all in one order. Taken before
  // mu_.
  base::Mutex order_;
  std::shared_ptr<IdentityHolder> identity_ ABSL_GUARDED_BY(order_);
  options::CrlMode crl_ ABSL_GUARDED_BY(order_) = options::CrlMode::kDefault;
  // The identity that the ports know, and its generation. Null and 0: none.
  security::IdentityPtr shown_ ABSL_GUARDED_BY(order_);
  uint64_t told_ ABSL_GUARDED_BY(order_) = 0;
  server::VerifyPeer verify_ ABSL_GUARDED_BY(order_);
  ShownLeaves leaves_ ABSL_GUARDED_BY(order_);
  uint64_t leaf_ ABSL_GUARDED_BY(order_) = 0;  // The one that is shown now.

  mutable base::Mutex mu_;
  // What the next handshake shows. No thread keeps an old one, whose key is to
  // be cleansed.
  core::ServerPair pair_ ABSL_GUARDED_BY(mu_);
  std::vector<std::weak_ptr<server::ServerDoor>> doors_ ABSL_GUARDED_BY(mu_);
  // Denied calls by peer; at most max_peers_, the others under "other".
  std::map<std::string, uint64_t> denied_ ABSL_GUARDED_BY(mu_);
};

}  // namespace mesh::front

#endif  // MESH_FRONT_DOORS_H_
