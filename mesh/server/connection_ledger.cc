#include "mesh/server/connection_ledger.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace mesh::server {
namespace {

// Looks are at least so far apart, however many verdicts end.
constexpr absl::Duration kBetweenLooks = absl::Milliseconds(50);

const std::shared_ptr<const security::Peer>& Plaintext() {
  // Lives as long as the process: calls may end after static destructors.
  static const auto* const peer = new std::shared_ptr<const security::Peer>(
      std::make_shared<security::Peer>(security::Peer{true, "", {}}));
  return *peer;
}

std::shared_ptr<const security::Peer> PeerOfChain(
    const JudgedChainPtr& judged) {
  return {judged, &judged->verdict.peer};
}

ConnectionLedger::Ruling Leave(const char* why) {
  return {absl::UnavailableError(why), nullptr};
}

}  // namespace

ConnectionLedger::ConnectionLedger(Wires wires,
                                   std::shared_ptr<PeerTrust> trust)
    : wires_(wires), trust_(std::move(trust)) {
  if (!wires.tls) no_tls_since_ = absl::InfinitePast();
  if (!wires.plaintext) no_plaintext_since_ = absl::InfinitePast();
}

ConnectionLedger::Id ConnectionLedger::Add(Wire wire,
                                           const std::string& peer_name) {
  base::MutexLock lock(&mu_);
  if (!wires_.Has(wire)) return 0;
  const Id id = ++last_id_;
  Connection& connection = connections_[id];
  connection.wire = wire;
  connection.peer_name = peer_name;
  by_name_[peer_name].push_back(id);
  ++(wire == Wire::kTls ? counts_.accepted_tls : counts_.accepted_plaintext);
  return id;
}

void ConnectionLedger::Remove(Id id) {
  Connection gone;  // Destroyed without the lock.
  base::MutexLock lock(&mu_);
  const auto it = connections_.find(id);
  if (it == connections_.end()) return;
  gone = std::move(it->second);
  connections_.erase(it);
  if (gone.context == nullptr) {
    ++counts_.closed_before_call;
  } else {
    by_context_.erase(gone.context.get());
  }
  const auto named = by_name_.find(gone.peer_name);
  if (named == by_name_.end()) return;
  std::vector<Id>& ids = named->second;
  ids.erase(std::remove(ids.begin(), ids.end(), id), ids.end());
  if (ids.empty()) by_name_.erase(named);
}

ConnectionLedger::Ruling ConnectionLedger::RuleOnTls(
    const void* context, absl::FunctionRef<std::string()> chain,
    absl::Time now) {
  std::optional<Ruling> ruling;
  std::string bytes;
  while (!ruling.has_value()) {
    ruling = TryToRule(context, chain, &bytes, now);
  }
  TellSooner();
  return *std::move(ruling);
}

std::optional<ConnectionLedger::Ruling> ConnectionLedger::TryToRule(
    const void* context, absl::FunctionRef<std::string()> chain,
    std::string* bytes, absl::Time now) {
  std::shared_ptr<PeerTrust> trust;
  std::vector<Withdrawn> withdrawn;
  {
    base::MutexLock lock(&mu_);
    if (now - no_tls_since_ >= kRefuseAfter) {
      ++counts_.refused_leaving;
      return Leave("the server takes no TLS any more. Connect again.");
    }
    const Connection* const connection = Find(context);
    if (connection != nullptr) {
      const absl::Time since = LeavingSince(*connection);
      if (now - since >= kRefuseAfter) {
        ++counts_.refused_leaving;
        return Leave("the server is closing this connection. Connect again.");
      }
      if (since != absl::InfiniteFuture() ||
          (connection->trust == trust_ &&
           now < connection->judged->verdict.until)) {
        return Ruling{absl::OkStatus(), PresentPeer(*connection)};
      }
    }
    trust = trust_;
    withdrawn = withdrawn_;
  }
  if (bytes->empty()) *bytes = chain();
  const JudgedChainPtr judged = trust->Judge(*bytes, now);
  const absl::Status& status = judged->verdict.status;
  // A connection that had no call yet may be older than a withdrawal.
  absl::Time since = absl::InfinitePast();
  const JudgedChainPtr before =
      status.ok() ? nullptr : Before(withdrawn, *bytes, now, &since);
  Ruling ruling;
  {
    base::MutexLock lock(&mu_);
    if (trust != trust_) return std::nullopt;  // It has changed meanwhile.
    Connection* const connection = Find(context);
    if (connection != nullptr) {
      Renew(connection, trust, judged, now);
      ruling.peer = PresentPeer(*connection);
    } else if (status.ok()) {
      ruling.peer = PeerOfChain(judged);
    } else if (before != nullptr && now - since < kRefuseAfter &&
               HasNameless()) {
      // This is the first call of such a connection, which has time to leave.
      // Whose it is nobody knows before Admitted(). So as long as there is one,
      // a newer connection may make one call, too.
      ruling.peer = PeerOfChain(before);
    } else if (before != nullptr) {
      ++counts_.refused_leaving;
      ruling = Leave("the server trusts others than before. Connect again.");
    } else {
      ++counts_.refused_unverified;
      ruling.status = absl::UnauthenticatedError(
          absl::StrCat("the caller is not verified: ", status.message(), "."));
    }
  }
  return ruling;
}

JudgedChainPtr ConnectionLedger::Before(const std::vector<Withdrawn>& withdrawn,
                                        absl::string_view chain, absl::Time now,
                                        absl::Time* since) {
  for (const Withdrawn& one : withdrawn) {
    if (now - one.at >= kShutAfter) continue;
    JudgedChainPtr judged = one.trust->Judge(chain, now);
    if (!judged->verdict.status.ok()) continue;
    *since = one.at;
    return judged;
  }
  return nullptr;
}

std::shared_ptr<const security::Peer> ConnectionLedger::PresentPeer(
    const Connection& connection) {
  // One that is refused, and has time to leave, is who it was.
  return connection.judged->verdict.status.ok() ? PeerOfChain(connection.judged)
                                                : connection.caller->peer;
}

ConnectionLedger::Ruling ConnectionLedger::RuleOnPlaintext(absl::Time now) {
  base::MutexLock lock(&mu_);
  if (now - no_plaintext_since_ >= kRefuseAfter) {
    ++counts_.refused_leaving;
    return Leave("the server takes no plaintext any more. Connect with TLS.");
  }
  ++counts_.calls_plaintext;
  return {absl::OkStatus(), Plaintext()};
}

std::shared_ptr<Caller> ConnectionLedger::Admitted(
    const void* context, absl::FunctionRef<FirstCall()> first, absl::Time now) {
  {
    base::MutexLock lock(&mu_);
    const Connection* const connection = Find(context);
    if (connection != nullptr) return connection->caller;
  }
  FirstCall call = first();
  std::optional<std::shared_ptr<Caller>> caller;
  while (!caller.has_value()) caller = TryToBind(context, &call, now);
  TellSooner();
  return *std::move(caller);
}

std::optional<std::shared_ptr<Caller>> ConnectionLedger::TryToBind(
    const void* context, FirstCall* call, absl::Time now) {
  std::shared_ptr<PeerTrust> trust;
  std::vector<Withdrawn> withdrawn;
  {
    base::MutexLock lock(&mu_);
    trust = trust_;
    withdrawn = withdrawn_;
  }
  const Wire wire = call->chain.empty() ? Wire::kPlaintext : Wire::kTls;
  JudgedChainPtr judged;
  JudgedChainPtr named;  // The verdict that has a name for the peer.
  if (wire == Wire::kTls) {
    named = judged = trust->Judge(call->chain, now);
    if (!judged->verdict.status.ok()) {
      absl::Time since;
      const JudgedChainPtr before = Before(withdrawn, call->chain, now, &since);
      if (before != nullptr) named = before;
    }
  }
  std::shared_ptr<Caller> caller;
  {
    base::MutexLock lock(&mu_);
    if (trust != trust_) return std::nullopt;  // It has changed meanwhile.
    Connection* connection = Find(context);
    if (connection != nullptr) return connection->caller;  // Another call did.
    Id id = 0;
    connection = FindNew(wire, call->peer_name, &id);
    if (connection == nullptr) return std::shared_ptr<Caller>();
    connection->context = std::move(call->context);
    by_context_[context] = id;
    caller = connection->caller = std::make_shared<Caller>();
    if (wire == Wire::kTls) {
      caller->peer = PeerOfChain(named);
      if (!judged->verdict.status.ok()) {
        // It has to leave since the withdrawal. One that is newer than that has
        // had its only call.
        const bool older = connection->nameless_since != absl::InfiniteFuture();
        connection->refused_since =
            older ? connection->nameless_since : now - kRefuseAfter;
      }
      connection->nameless_since = absl::InfiniteFuture();
      Renew(connection, std::move(trust), std::move(judged), now);
    } else {
      caller->peer = Plaintext();
      Refresh(connection);
    }
  }
  return caller;
}

void ConnectionLedger::SetTrust(std::shared_ptr<PeerTrust> trust,
                                bool withdrawn, absl::Time now) {
  std::vector<JudgedChainPtr> old;
  {
    base::MutexLock lock(&mu_);
    if (withdrawn) {
      withdrawn_.push_back({trust_, now});
      // They are forgotten then.
      LookBy(now + kShutAfter);
    }
    trust_ = trust;
    for (const auto& [id, connection] : connections_) {
      if (connection.judged != nullptr) old.push_back(connection.judged);
    }
  }
  absl::flat_hash_map<absl::string_view, JudgedChainPtr> judged;
  for (const JudgedChainPtr& chain : old) {
    JudgedChainPtr& now_judged = judged[chain->chain];
    if (now_judged == nullptr) now_judged = trust->Judge(chain->chain, now);
  }
  {
    base::MutexLock lock(&mu_);
    for (auto& [id, connection] : connections_) {
      if (connection.judged != nullptr && connection.trust != trust) {
        const auto it = judged.find(connection.judged->chain);
        if (it != judged.end()) Renew(&connection, trust, it->second, now);
      } else if (withdrawn && connection.wire == Wire::kTls &&
                 connection.judged == nullptr) {
        connection.nameless_since = std::min(connection.nameless_since, now);
        Refresh(&connection);
      }
    }
  }
  TellSooner();
}

void ConnectionLedger::SetWires(Wires wires, absl::Time now) {
  {
    base::MutexLock lock(&mu_);
    wires_ = wires;
    no_tls_since_ =
        wires.tls ? absl::InfiniteFuture() : std::min(no_tls_since_, now);
    no_plaintext_since_ = wires.plaintext ? absl::InfiniteFuture()
                                          : std::min(no_plaintext_since_, now);
    for (auto& [id, connection] : connections_) Refresh(&connection);
  }
  TellSooner();
}

ConnectionLedger::Look ConnectionLedger::LookAround(absl::Time now) {
  Look look;
  std::vector<std::pair<Id, JudgedChainPtr>> ended;
  std::shared_ptr<PeerTrust> trust;
  std::vector<Withdrawn> forgotten;  // Destroyed without the lock.
  {
    base::MutexLock lock(&mu_);
    const auto young = std::find_if(
        withdrawn_.begin(), withdrawn_.end(),
        [&](const Withdrawn& one) { return now - one.at < kShutAfter; });
    forgotten.assign(withdrawn_.begin(), young);
    withdrawn_.erase(withdrawn_.begin(), young);
    trust = trust_;
    for (const auto& [id, connection] : connections_) {
      if (connection.judged != nullptr &&
          connection.judged->verdict.until <= now) {
        ended.emplace_back(id, connection.judged);
      }
    }
  }
  for (auto& [id, judged] : ended) judged = trust->Judge(judged->chain, now);
  base::MutexLock lock(&mu_);
  for (const auto& [id, judged] : ended) {
    const auto it = connections_.find(id);
    // SetTrust() has judged them anew if the trust has changed.
    if (it == connections_.end() || trust != trust_) continue;
    Renew(&it->second, trust, judged, now);
  }
  for (auto& [id, connection] : connections_) {
    const absl::Time since = LeavingSince(connection);
    if (now - since >= kShutAfter) {
      if (connection.shut) continue;
      connection.shut = true;
      ++counts_.shut;
      look.shut.push_back(id);
      continue;
    }
    if (since != absl::InfiniteFuture()) {
      look.next = std::min(look.next, since + kShutAfter);
    } else if (connection.judged != nullptr) {
      look.next = std::min(look.next, connection.judged->verdict.until);
    }
  }
  if (!withdrawn_.empty()) {
    look.next = std::min(look.next, withdrawn_.front().at + kShutAfter);
  }
  look.next = std::max(look.next, now + kBetweenLooks);
  next_look_ = look.next;
  tell_sooner_ = false;
  return look;
}

ConnectionLedger::Counts ConnectionLedger::counts() const {
  base::MutexLock lock(&mu_);
  Counts counts = counts_;
  for (const auto& [id, connection] : connections_) {
    ++(connection.wire == Wire::kTls ? counts.open_tls : counts.open_plaintext);
    if (LeavingSince(connection) != absl::InfiniteFuture()) ++counts.leaving;
  }
  return counts;
}

absl::Time ConnectionLedger::LeavingSince(const Connection& connection) const {
  return std::min(
      {connection.refused_since, connection.nameless_since,
       connection.wire == Wire::kTls ? no_tls_since_ : no_plaintext_since_});
}

bool ConnectionLedger::HasNameless() const {
  return std::any_of(
      connections_.begin(), connections_.end(), [](const auto& one) {
        return one.second.nameless_since != absl::InfiniteFuture();
      });
}

void ConnectionLedger::Refresh(Connection* connection) {
  const absl::Time since = LeavingSince(*connection);
  const bool leaving = since != absl::InfiniteFuture();
  if (connection->caller != nullptr) {
    connection->caller->leaving.store(leaving, std::memory_order_relaxed);
  }
  if (leaving) LookBy(since + kShutAfter);
}

void ConnectionLedger::Renew(Connection* connection,
                             std::shared_ptr<PeerTrust> trust,
                             JudgedChainPtr judged, absl::Time now) {
  connection->refused_since = judged->verdict.status.ok()
                                  ? absl::InfiniteFuture()
                                  : std::min(connection->refused_since, now);
  LookBy(judged->verdict.until);
  connection->trust = std::move(trust);
  connection->judged = std::move(judged);
  Refresh(connection);
}

void ConnectionLedger::LookBy(absl::Time at) {
  if (at >= next_look_) return;
  next_look_ = at;
  tell_sooner_ = true;
}

ConnectionLedger::Connection* ConnectionLedger::Find(const void* context) {
  const auto it = by_context_.find(context);
  return it == by_context_.end() ? nullptr : &connections_.at(it->second);
}

ConnectionLedger::Connection* ConnectionLedger::FindNew(
    Wire wire, const std::string& peer_name, Id* id) {
  const auto it = by_name_.find(peer_name);
  if (it == by_name_.end()) return nullptr;
  const std::vector<Id>& ids = it->second;
  for (auto newest = ids.rbegin(); newest != ids.rend(); ++newest) {
    Connection& connection = connections_.at(*newest);
    if (connection.wire != wire || connection.context != nullptr) continue;
    *id = *newest;
    return &connection;
  }
  return nullptr;
}

void ConnectionLedger::TellSooner() {
  {
    base::MutexLock lock(&mu_);
    if (!std::exchange(tell_sooner_, false)) return;
  }
  if (sooner_ != nullptr) sooner_();
}

}  // namespace mesh::server
