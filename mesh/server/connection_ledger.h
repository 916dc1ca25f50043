#ifndef MESH_SERVER_CONNECTION_LEDGER_H_
#define MESH_SERVER_CONNECTION_LEDGER_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/inlined_vector.h"
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
  // The name by which the call was admitted. Null: not known.
  std::shared_ptr<const security::Peer> peer;
  // Its connection is to end soon. Null: not known.
  std::shared_ptr<const std::atomic<bool>> leaving;

  // Whether answers say that the connection is to end.
  bool IsLeaving() const {
    return leaving != nullptr && leaving->load(std::memory_order_relaxed);
  }
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
// A connection makes itself known in two steps. Its first call brings the
// context: an address that all of its calls have. The ledger keeps the context,
// so no other connection has that address. The first call that is admitted
// brings the peer's address, too, and with it the socket. Several connections
// may have that address, to different addresses of the port. Which is which
// nobody knows then, so they have to leave together.
//
// gRPC may hand a call to its handler when the connection is gone already. So
// the ledger still knows for a while who was at the other end.
//
// Thread-safe. Times are by one clock. Calls of a known and believed connection
// share no lock with those of most others.
class ConnectionLedger {
 public:
  using Id = uint64_t;
  static constexpr absl::Duration kRefuseAfter = absl::Seconds(4);
  static constexpr absl::Duration kShutAfter = absl::Seconds(5);
  // LookAround() judges so many peers at most.
  static constexpr size_t kJudgedAtOnce = 64;
  // So many contexts of connections that are gone may be kept at most: of those
  // whose socket was known, and again of those whose socket was not.
  static constexpr size_t kSpareContacts = 1000;

  // What becomes of a call that arrives. Not OK: UNAUTHENTICATED, or
  // UNAVAILABLE where the caller is to come on another connection.
  struct Ruling {
    absl::Status status;
    std::shared_ptr<const security::Peer> peer;  // Null unless OK.
  };
  // What the first call of a connection tells of it.
  struct FirstCall {
    std::string chain;                    // Empty: plaintext.
    std::shared_ptr<const void> context;  // Keeps the context.
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
    // Without any call, whether refused or not. It may lag while connections
    // are open that had refused calls only.
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
  // Its socket is gone. Who was there stays known to calls that were admitted.
  void Remove(Id id);

  // Rules on a call before any handler sees it. `first` is asked if the context
  // is not known.
  Ruling Rule(Wire wire, const void* context,
              absl::FunctionRef<FirstCall()> first, absl::Time now);

  // Who makes a call that Rule() and all others have admitted. `peer_name`, as
  // in Add(), is asked while the socket is not known. Not known: the call came
  // to another port, or more than kSpareContacts have come since Rule().
  Caller Admitted(const void* context,
                  absl::FunctionRef<std::string()> peer_name, absl::Time now);

  // Whom the port believes from now on. `withdrawn`: it may believe less than
  // before, and those who are refused have to leave. It verifies nobody: the
  // next looks do, or the next call of a connection.
  void SetTrust(std::shared_ptr<PeerTrust> trust, bool withdrawn,
                absl::Time now);
  // Handshakes show the certificate with this number from now on. Connections
  // on which one up to `withdrawn` was shown have to leave. 0: there are none.
  void SetShown(uint64_t number, uint64_t withdrawn, absl::Time now);
  // What the port takes from now on.
  void SetWires(Wires wires, absl::Time now);

  // Verifies peers, on this thread. One call at a time.
  Look LookAround(absl::Time now);

  Counts counts() const;

  // How many contexts are kept. For tests.
  size_t contacts() const;

 private:
  // The other end of a connection that made a call.
  struct Contact {
    Wire wire;
    std::shared_ptr<const void> context;
    // Its connection, and all others that have the peer's address. Empty: no
    // admitted call has told it, or it is `gone`.
    absl::InlinedVector<Id, 1> ids;
    bool gone = false;  // Its connection was known, and is there no longer.
    // It had the one call that it has where nobody knows how old it is.
    bool had_its_call = false;
    // Only of TLS: the last verdict, and the era of it.
    JudgedChainPtr judged;
    uint64_t era = 0;
    // Since when its peer is refused. Infinite: it is not, or it has no ids.
    absl::Time refused_since = absl::InfiniteFuture();
    std::shared_ptr<const security::Peer> peer;  // As it was admitted last.
    std::shared_ptr<std::atomic<bool>> leaving;
    // In gone_ or unnamed_, unless it has ids.
    std::list<const void*>::iterator place;
  };
  using ContactPtr = std::unique_ptr<Contact>;

  struct Connection {
    Wire wire;
    std::string peer_name;
    // Those that it may be of. Empty: no admitted call has told any.
    absl::InlinedVector<Contact*, 1> contacts;
    // Since when it has to leave as nobody knows whose it is. Infinite: it need
    // not.
    absl::Time nameless_since = absl::InfiniteFuture();
    // What its handshake showed, or an earlier one, and since when it has to
    // leave because of that.
    uint64_t shown = 0;
    absl::Time withdrawn_since = absl::InfiniteFuture();
    bool shut = false;
  };
  using Connections = std::map<Id, Connection>;
  // A trust that believed more than the one after it, and when that came.
  struct Withdrawn {
    std::shared_ptr<PeerTrust> trust;
    absl::Time at;
  };

  // Lets the calls of a contact pass without mu_.
  struct Pass {
    uint64_t era = 0;  // It holds in this era only. 0: it never holds.
    absl::Time until;
    Caller caller;
  };
  // The passes of some contacts; each contact has one. Most calls take such a
  // lock only, and connections that share one are few.
  struct alignas(64) Shard {
    mutable base::Mutex mu;
    absl::flat_hash_map<const void*, Pass> passes ABSL_GUARDED_BY(mu);
    uint64_t calls_plaintext ABSL_GUARDED_BY(mu) = 0;
  };
  static constexpr int kShardBits = 6;

  // Who believes whom: the present trust, and those of a moment ago.
  struct Trusts {
    std::shared_ptr<PeerTrust> now;
    uint64_t era;
    std::vector<Withdrawn> before;
  };
  struct Judgement {
    uint64_t era;
    JudgedChainPtr judged;
    // Where the peer is refused: the verdict of the last trust before that
    // believed it. Null: there is none.
    JudgedChainPtr before;
    absl::Time since;  // When that was withdrawn; else now.
  };

  Ruling RuleOnTls(const void* context, absl::FunctionRef<FirstCall()> first,
                   absl::Time now);
  Ruling RuleOnPlaintext(const void* context,
                         absl::FunctionRef<FirstCall()> first, absl::Time now);
  // The ruling by what is known. Nothing: a new verdict is needed. Then `last`
  // is the last one, or null.
  std::optional<Ruling> RuleByLastVerdict(const void* context, absl::Time now,
                                          JudgedChainPtr* last)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Ruling RuleByNewVerdict(Contact* contact, const Judgement& verdict,
                          absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Ruling RefuseLeaving(const char* why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Ruling RefuseUnverified(const absl::Status& why)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Trusts PresentTrusts() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return {trust_, era_.load(), withdrawn_};
  }
  // Verifies, so it is called without the lock.
  static Judgement Judge(const Trusts& trusts, absl::string_view chain,
                         absl::Time now);
  // Judges connections whose verdict is of an older trust or has ended. True:
  // there are more.
  bool JudgeSome(absl::Time now) ABSL_LOCKS_EXCLUDED(mu_);

  // Infinite: it need not leave.
  absl::Time LeavingSince(const Connection& connection) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // When the first of all that may be its connection had to leave.
  absl::Time LeavingSince(const Contact& contact) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Whether it has a connection, and was judged by an older trust.
  bool IsStale(const Contact& contact) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Those that nobody needs any more. To be destroyed without the lock.
  std::vector<Withdrawn> ForgetWithdrawn(absl::Time now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void SetNameless(Connection* connection, absl::Time since)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // After anything that LeavingSince() depends on.
  void Refresh(const Connection& connection) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Refresh(Contact* contact) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Renew(Contact* contact, const Judgement& verdict, absl::Time now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void LookBy(absl::Time at) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // Null: it is not known.
  Contact* Find(const void* context) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Makes the contact, which is not known.
  Contact* Meet(Wire wire, const void* context,
                std::shared_ptr<const void> held)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Finds the connections of `contact`, which has none.
  void Name(Contact* contact, const std::string& peer_name, absl::Time now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // A connection of `contact` is gone.
  void Part(Contact* contact, Id id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // In which contacts such as `contact`, which has no ids, are listed.
  std::list<const void*>& ListOf(const Contact& contact)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return contact.gone ? gone_ : unnamed_;
  }
  ContactPtr Forget(const void* context) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Keeps contacts without a connection few. To be destroyed without the lock.
  std::vector<ContactPtr> ForgetSpare() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  Shard& ShardOf(const void* context);
  bool Holds(const Pass& pass, absl::Time now) const;
  // Tells `sooner_` if LookBy() wants it. Without the lock.
  void TellSooner() ABSL_LOCKS_EXCLUDED(mu_);

  std::function<void()> sooner_;  // Constant once it is set.

  // Grows with each change of trust, so that no older pass or verdict holds.
  // Written under mu_.
  std::atomic<uint64_t> era_{1};
  // Their locks are taken after mu_.
  std::array<Shard, 1 << kShardBits> shards_;

  mutable base::Mutex mu_;
  Wires wires_ ABSL_GUARDED_BY(mu_);
  uint64_t shown_ ABSL_GUARDED_BY(mu_) = 0;
  // Since when a wire is not taken. Infinite: it is taken.
  absl::Time no_tls_since_ ABSL_GUARDED_BY(mu_) = absl::InfiniteFuture();
  absl::Time no_plaintext_since_ ABSL_GUARDED_BY(mu_) = absl::InfiniteFuture();
  std::shared_ptr<PeerTrust> trust_ ABSL_GUARDED_BY(mu_);  // Never null.
  // Those of the last kShutAfter, and those after which peers are to be judged
  // yet. The oldest is the first.
  std::vector<Withdrawn> withdrawn_ ABSL_GUARDED_BY(mu_);

  Id last_id_ ABSL_GUARDED_BY(mu_) = 0;
  Connections connections_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_map<const void*, ContactPtr> contacts_ ABSL_GUARDED_BY(mu_);
  // The contacts whose connection is gone, and those whose connection no
  // admitted call has told. Who made a call last is the last one.
  std::list<const void*> gone_ ABSL_GUARDED_BY(mu_);
  std::list<const void*> unnamed_ ABSL_GUARDED_BY(mu_);
  // How many connections have no contact.
  size_t unclaimed_ ABSL_GUARDED_BY(mu_) = 0;
  // How many of them are those of unnamed_. Which ones is not known.
  size_t called_ ABSL_GUARDED_BY(mu_) = 0;
  absl::flat_hash_map<std::string, std::vector<Id>> by_name_
      ABSL_GUARDED_BY(mu_);
  // How many connections have a nameless_since.
  size_t nameless_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Time next_look_ ABSL_GUARDED_BY(mu_) = absl::InfiniteFuture();
  bool tell_sooner_ ABSL_GUARDED_BY(mu_) = false;
  Counts counts_ ABSL_GUARDED_BY(mu_);
};

}  // namespace mesh::server

#endif  // MESH_SERVER_CONNECTION_LEDGER_H_
