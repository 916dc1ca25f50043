#ifndef MESH_SERVER_CONNECTION_LEDGER_H_
#define MESH_SERVER_CONNECTION_LEDGER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mesh/base/mutex.h"
#include "mesh/security/peer.h"
#include "mesh/server/peer_trust.h"

namespace mesh::server {

// What a connection speaks, as its first byte said.
enum class Wire : uint8_t { kTls, kPlaintext };

// Which of them a port takes.
struct Wires {
  bool tls = true;
  bool plaintext = false;

  bool Has(Wire wire) const { return wire == Wire::kTls ? tls : plaintext; }
};

// Who made a call, for as long as the call lives.
struct Caller {
  // Without a name if the peer was refused between two looks at it.
  std::shared_ptr<const security::Peer> peer;  // Never null.
  // Its connection is to end soon. Answers say so.
  std::atomic<bool> leaving{false};
};

// The connections of one port, and who is at their other ends. Decides what is
// admitted, and who has to leave; it has no socket, no thread and no clock.
//
// A connection has to leave when its peer is refused by a newer trust, when its
// peer's certificate has expired, or when the port takes its wire no longer.
// After a withdrawal one without any call has to leave, too, because nobody
// knows whose it is. From then on its callers are told, from kRefuseAfter its
// new calls are refused, and at kShutAfter it is to be shut.
//
// A connection is known by `context`: an address that all of its calls have,
// and that no other connection has while the ledger holds it. The first call
// brings it, with the peer's address. Thread-safe. Times are by one clock.
class ConnectionLedger {
 public:
  using Id = uint64_t;
  static constexpr absl::Duration kRefuseAfter = absl::Seconds(4);
  static constexpr absl::Duration kShutAfter = absl::Seconds(5);

  // What becomes of a call that arrives. Not OK: UNAUTHENTICATED, or
  // UNAVAILABLE where the caller is to come on another connection.
  struct Ruling {
    absl::Status status;
    std::shared_ptr<const security::Peer> peer;  // Null unless OK.
  };
  // What is to be done now, and when to look again.
  struct Look {
    std::vector<Id> shut;  // Each is listed once.
    absl::Time next = absl::InfiniteFuture();
  };
  struct Counts {
    uint64_t open_tls = 0;
    uint64_t open_plaintext = 0;
    uint64_t leaving = 0;  // How many of these have to leave.
    // Ever.
    uint64_t accepted_tls = 0;
    uint64_t accepted_plaintext = 0;
    uint64_t closed_before_call = 0;
    uint64_t shut = 0;
    uint64_t calls_plaintext = 0;
    uint64_t refused_unverified = 0;  // Calls.
    uint64_t refused_leaving = 0;     // Calls.
  };

  ConnectionLedger(Wires wires, std::shared_ptr<PeerTrust> trust);
  // `sooner` is called, on any thread and without a lock, when LookAround() is
  // needed before the time that the last one gave. Once, before anything else.
  void SetSooner(std::function<void()> sooner) { sooner_ = std::move(sooner); }

  // A connection from `peer_name` (as in grpc::ServerContext::peer()) is about
  // to be handed over. 0: the port does not take this wire.
  Id Add(Wire wire, const std::string& peer_name);
  // Its socket is gone.
  void Remove(Id id);

  // Rules on a call before any handler sees it. `chain` gives what the peer has
  // sent; it is asked only where it counts.
  Ruling RuleOnTls(const void* context, absl::FunctionRef<std::string()> chain,
                   absl::Time now);
  Ruling RuleOnPlaintext(absl::Time now);

  // What the first admitted call of a connection tells of it.
  struct FirstCall {
    std::string peer_name;                // As in Add().
    std::string chain;                    // Empty: plaintext.
    std::shared_ptr<const void> context;  // Keeps the context.
  };
  // A call was admitted. Finds its connection; `first` is asked if it is not
  // known by `context`. Null: the call came to another port, or its connection
  // is gone.
  std::shared_ptr<Caller> Admitted(const void* context,
                                   absl::FunctionRef<FirstCall()> first,
                                   absl::Time now);

  // Whom the port believes from now on. `withdrawn`: it may believe less than
  // before, and those who are refused have to leave. Verifies the chains of all
  // connections, on this thread. One call at a time.
  void SetTrust(std::shared_ptr<PeerTrust> trust, bool withdrawn,
                absl::Time now);
  // What the port takes from now on.
  void SetWires(Wires wires, absl::Time now);

  Look LookAround(absl::Time now);

  Counts counts() const;

 private:
  struct Connection {
    Wire wire;
    std::string peer_name;
    // Set by the first call.
    std::shared_ptr<const void> context;
    std::shared_ptr<Caller> caller;
    std::shared_ptr<PeerTrust> trust;  // Whose verdict it is. Only of TLS.
    JudgedChainPtr judged;
    // Since when it has to leave, and why. Infinite: not for that reason.
    absl::Time refused_since = absl::InfiniteFuture();
    absl::Time nameless_since = absl::InfiniteFuture();
    bool shut = false;
  };
  using Connections = std::map<Id, Connection>;
  // A trust that believed more than the one after it, and when that came.
  struct Withdrawn {
    std::shared_ptr<PeerTrust> trust;
    absl::Time at;
  };

  // One try at RuleOnTls() and at Admitted(). Nothing: the trust has changed
  // while it judged.
  std::optional<Ruling> TryToRule(const void* context,
                                  absl::FunctionRef<std::string()> chain,
                                  std::string* bytes, absl::Time now);
  std::optional<std::shared_ptr<Caller>> TryToBind(const void* context,
                                                   FirstCall* call,
                                                   absl::Time now);
  // The verdict of the first trust, of those withdrawn a moment ago, that
  // believes `chain`. Null: none does. `since`: when it was withdrawn.
  static JudgedChainPtr Before(const std::vector<Withdrawn>& withdrawn,
                               absl::string_view chain, absl::Time now,
                               absl::Time* since);
  static std::shared_ptr<const security::Peer> PresentPeer(
      const Connection& connection);

  absl::Time LeavingSince(const Connection& connection) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Whether a connection that a withdrawal concerns had no call yet.
  bool HasNameless() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // After anything that LeavingSince() depends on.
  void Refresh(Connection* connection) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Renew(Connection* connection, std::shared_ptr<PeerTrust> trust,
             JudgedChainPtr judged, absl::Time now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void LookBy(absl::Time at) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Connection* Find(const void* context) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // The newest connection of `wire` from `peer_name` that had no call yet.
  Connection* FindNew(Wire wire, const std::string& peer_name, Id* id)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Tells `sooner_` if LookBy() wants it. Without the lock.
  void TellSooner() ABSL_LOCKS_EXCLUDED(mu_);

  std::function<void()> sooner_;  // Constant once it is set.

  mutable base::Mutex mu_;
  Wires wires_ ABSL_GUARDED_BY(mu_);
  // Since when a wire is not taken. Infinite: it is taken.
  absl::Time no_tls_since_ ABSL_GUARDED_BY(mu_) = absl::InfiniteFuture();
  absl::Time no_plaintext_since_ ABSL_GUARDED_BY(mu_) = absl::InfiniteFuture();
  std::shared_ptr<PeerTrust> trust_ ABSL_GUARDED_BY(mu_);  // Never null.
  // Those of the last kShutAfter, the oldest first.
  std::vector<Withdrawn> withdrawn_ ABSL_GUARDED_BY(mu_);

  Id last_id_ ABSL_GUARDED_BY(mu_) = 0;
  Connections connections_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_map<const void*, Id> by_context_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_map<std::string, std::vector<Id>> by_name_
      ABSL_GUARDED_BY(mu_);
  absl::Time next_look_ ABSL_GUARDED_BY(mu_) = absl::InfiniteFuture();
  bool tell_sooner_ ABSL_GUARDED_BY(mu_) = false;
  Counts counts_ ABSL_GUARDED_BY(mu_);
};

}  // namespace mesh::server

#endif  // MESH_SERVER_CONNECTION_LEDGER_H_
