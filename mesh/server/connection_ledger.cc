#include "mesh/server/connection_ledger.h"

#include <algorithm>
#include <utility>

#include "absl/hash/hash.h"
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
  connection.shown = shown_;
  by_name_[peer_name].push_back(id);
  ++unclaimed_;
  ++(wire == Wire::kTls ? counts_.accepted_tls : counts_.accepted_plaintext);
  return id;
}

void ConnectionLedger::Remove(Id id) {
  Connection gone;  // These are destroyed without the lock.
  std::vector<ContactPtr> spare;
  base::MutexLock lock(&mu_);
  const auto it = connections_.find(id);
  if (it == connections_.end()) return;
  SetNameless(&it->second, absl::InfiniteFuture());
  gone = std::move(it->second);
  connections_.erase(it);
  for (Contact* const contact : gone.contacts) Part(contact, id);
  if (gone.contacts.empty()) {
    --unclaimed_;
    if (called_ > unclaimed_) {
      --called_;  // It, or another one before it, had a call.
    } else {
      ++counts_.closed_before_call;
    }
  }
  spare = ForgetSpare();
  const auto named = by_name_.find(gone.peer_name);
  if (named == by_name_.end()) return;
  std::vector<Id>& ids = named->second;
  ids.erase(std::remove(ids.begin(), ids.end(), id), ids.end());
  if (ids.empty()) by_name_.erase(named);
}

ConnectionLedger::Ruling ConnectionLedger::Rule(
    Wire wire, const void* context, absl::FunctionRef<FirstCall()> first,
    absl::Time now) {
  {
    Shard& shard = ShardOf(context);
    base::MutexLock lock(&shard.mu);
    const auto it = shard.passes.find(context);
    if (it != shard.passes.end() && Holds(it->second, now)) {
      if (wire == Wire::kPlaintext) ++shard.calls_plaintext;
      return {absl::OkStatus(), it->second.caller.peer};
    }
  }
  Ruling ruling = wire == Wire::kTls ? RuleOnTls(context, first, now)
                                     : RuleOnPlaintext(context, first, now);
  TellSooner();
  return ruling;
}

ConnectionLedger::Ruling ConnectionLedger::RuleOnTls(
    const void* context, absl::FunctionRef<FirstCall()> first, absl::Time now) {
  std::optional<FirstCall> call;
  while (true) {
    Trusts trusts;
    JudgedChainPtr last;
    {
      base::MutexLock lock(&mu_);
      std::optional<Ruling> ruling = RuleByLastVerdict(context, now, &last);
      if (ruling.has_value()) return *std::move(ruling);
      trusts = PresentTrusts();
    }
    if (last == nullptr && !call.has_value()) call = first();
    const Judgement verdict =
        Judge(trusts, last != nullptr ? last->chain : call->chain, now);
    std::vector<ContactPtr> spare;  // Destroyed without the lock.
    base::MutexLock lock(&mu_);
    if (trusts.now != trust_) continue;  // It has changed meanwhile.
    Contact* contact = Find(context);
    if (contact == nullptr) {
      if (!call.has_value()) continue;  // It was forgotten meanwhile.
      spare = ForgetSpare();
      contact = Meet(Wire::kTls, context, std::move(call->context));
    }
    return RuleByNewVerdict(contact, verdict, now);
  }
}

std::optional<ConnectionLedger::Ruling> ConnectionLedger::RuleByLastVerdict(
    const void* context, absl::Time now, JudgedChainPtr* last) {
  if (now - no_tls_since_ >= kRefuseAfter) {
    return RefuseLeaving("the server takes no TLS any more. Connect again.");
  }
  Contact* const contact = Find(context);
  if (contact == nullptr) return std::nullopt;
  *last = contact->judged;
  if (contact->ids.empty()) {
    std::list<const void*>& list = ListOf(*contact);
    list.splice(list.end(), list, contact->place);
  }
  if (contact->era != era_.load()) return std::nullopt;
  const absl::Time since = LeavingSince(*contact);
  if (now - since >= kRefuseAfter) {
    return RefuseLeaving(
        "the server is closing this connection. Connect again.");
  }
  if (since != absl::InfiniteFuture()) {
    return Ruling{absl::OkStatus(), contact->peer};
  }
  if (now >= contact->judged->verdict.until) return std::nullopt;
  const absl::Status& status = contact->judged->verdict.status;
  if (status.ok()) return Ruling{absl::OkStatus(), contact->peer};
  // A moment after a withdrawal it depends on more than the verdict.
  if (!withdrawn_.empty() && now - withdrawn_.back().at < kShutAfter) {
    return std::nullopt;
  }
  return RefuseUnverified(status);
}

ConnectionLedger::Ruling ConnectionLedger::RuleByNewVerdict(
    Contact* contact, const Judgement& verdict, absl::Time now) {
  Renew(contact, verdict, now);
  if (!contact->ids.empty()) {
    if (now - LeavingSince(*contact) >= kRefuseAfter) {
      return RefuseLeaving(
          "the server is closing this connection. Connect again.");
    }
    return {absl::OkStatus(), contact->peer};
  }
  const absl::Status& status = verdict.judged->verdict.status;
  if (status.ok()) return {absl::OkStatus(), contact->peer};
  if (verdict.before == nullptr || now - verdict.since >= kShutAfter) {
    return RefuseUnverified(status);
  }
  // A connection that had no call yet may be older than the withdrawal. Then it
  // has time to leave. Whose it is nobody knows before Admitted(). So as long
  // as there is one, each connection may make one call, a newer one, too.
  if (nameless_ > 0 && now - verdict.since < kRefuseAfter &&
      !std::exchange(contact->had_its_call, true)) {
    contact->peer = PeerOfChain(verdict.before);
    return {absl::OkStatus(), contact->peer};
  }
  return RefuseLeaving("the server trusts others than before. Connect again.");
}

ConnectionLedger::Ruling ConnectionLedger::RefuseLeaving(const char* why) {
  ++counts_.refused_leaving;
  return {absl::UnavailableError(why), nullptr};
}

ConnectionLedger::Ruling ConnectionLedger::RefuseUnverified(
    const absl::Status& why) {
  ++counts_.refused_unverified;
  return {absl::UnauthenticatedError(
              absl::StrCat("the caller is not verified: ", why.message(), ".")),
          nullptr};
}

ConnectionLedger::Judgement ConnectionLedger::Judge(const Trusts& trusts,
                                                    absl::string_view chain,
                                                    absl::Time now) {
  Judgement verdict = {trusts.era, trusts.now->Judge(chain, now), nullptr, now};
  if (verdict.judged->verdict.status.ok()) return verdict;
  for (auto one = trusts.before.rbegin(); one != trusts.before.rend(); ++one) {
    JudgedChainPtr judged = one->trust->Judge(chain, now);
    if (!judged->verdict.status.ok()) continue;
    verdict.before = std::move(judged);
    verdict.since = one->at;
    break;
  }
  return verdict;
}

ConnectionLedger::Ruling ConnectionLedger::RuleOnPlaintext(
    const void* context, absl::FunctionRef<FirstCall()> first, absl::Time now) {
  {
    base::MutexLock lock(&mu_);
    if (now - no_plaintext_since_ >= kRefuseAfter) {
      return RefuseLeaving(
          "the server takes no plaintext any more. Connect with TLS.");
    }
    ++counts_.calls_plaintext;
    if (Find(context) != nullptr) return {absl::OkStatus(), Plaintext()};
  }
  FirstCall call = first();
  std::vector<ContactPtr> spare;  // Destroyed without the lock.
  base::MutexLock lock(&mu_);
  if (Find(context) == nullptr) {
    spare = ForgetSpare();
    Meet(Wire::kPlaintext, context, std::move(call.context))->peer =
        Plaintext();
  }
  return {absl::OkStatus(), Plaintext()};
}

Caller ConnectionLedger::Admitted(const void* context,
                                  absl::FunctionRef<std::string()> peer_name,
                                  absl::Time now) {
  {
    Shard& shard = ShardOf(context);
    base::MutexLock lock(&shard.mu);
    const auto it = shard.passes.find(context);
    if (it == shard.passes.end()) return Caller();
    if (Holds(it->second, now)) return it->second.caller;
  }
  {
    base::MutexLock lock(&mu_);
    const Contact* const contact = Find(context);
    if (contact == nullptr) return Caller();
    // Another connection may have the address of one that is gone.
    if (!contact->ids.empty() || contact->gone) {
      return {contact->peer, contact->leaving};
    }
  }
  const std::string name = peer_name();
  Caller caller;
  {
    base::MutexLock lock(&mu_);
    Contact* const contact = Find(context);
    if (contact == nullptr) return Caller();
    if (contact->ids.empty() && !contact->gone) Name(contact, name, now);
    caller = {contact->peer, contact->leaving};
  }
  TellSooner();
  return caller;
}

void ConnectionLedger::SetTrust(std::shared_ptr<PeerTrust> trust,
                                bool withdrawn, absl::Time now) {
  std::vector<Withdrawn> forgotten;  // Destroyed without the lock.
  {
    base::MutexLock lock(&mu_);
    forgotten = ForgetWithdrawn(now);
    if (withdrawn) {
      withdrawn_.push_back({trust_, now});
      // They are forgotten then.
      LookBy(now + kShutAfter);
    }
    trust_.swap(trust);
    era_.fetch_add(1);
    for (auto& [id, connection] : connections_) {
      if (!withdrawn || connection.wire != Wire::kTls ||
          !connection.contacts.empty()) {
        continue;
      }
      SetNameless(&connection, std::min(connection.nameless_since, now));
      Refresh(connection);
    }
    LookBy(now);
  }
  TellSooner();
}

void ConnectionLedger::SetShown(uint64_t number, uint64_t withdrawn,
                                absl::Time now) {
  {
    base::MutexLock lock(&mu_);
    shown_ = number;
    for (auto& [id, connection] : connections_) {
      if (withdrawn == 0 || connection.wire != Wire::kTls ||
          connection.shown > withdrawn) {
        continue;
      }
      connection.withdrawn_since = std::min(connection.withdrawn_since, now);
      Refresh(connection);
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
    for (const auto& [id, connection] : connections_) Refresh(connection);
  }
  TellSooner();
}

ConnectionLedger::Look ConnectionLedger::LookAround(absl::Time now) {
  bool more = JudgeSome(now);
  Look look;
  base::MutexLock lock(&mu_);
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
    }
  }
  for (const auto& [context, contact] : contacts_) {
    // The trust may have changed since JudgeSome().
    more |= IsStale(*contact);
    if (!contact->ids.empty() && contact->judged != nullptr &&
        LeavingSince(*contact) == absl::InfiniteFuture()) {
      look.next = std::min(look.next, contact->judged->verdict.until);
    }
  }
  if (!withdrawn_.empty()) {
    look.next = std::min(look.next, withdrawn_.front().at + kShutAfter);
  }
  look.next = more ? now : std::max(look.next, now + kBetweenLooks);
  next_look_ = look.next;
  tell_sooner_ = false;
  return look;
}

bool ConnectionLedger::JudgeSome(absl::Time now) {
  bool more = false;
  std::vector<std::pair<std::shared_ptr<const void>, JudgedChainPtr>> due;
  std::vector<Withdrawn> forgotten;  // Destroyed without the lock.
  Trusts trusts;
  {
    base::MutexLock lock(&mu_);
    forgotten = ForgetWithdrawn(now);
    trusts = PresentTrusts();
    for (const auto& [context, contact] : contacts_) {
      if (contact->ids.empty() || contact->judged == nullptr) continue;
      if (!IsStale(*contact) && now < contact->judged->verdict.until) continue;
      more = due.size() == kJudgedAtOnce;
      if (more) break;
      due.emplace_back(contact->context, contact->judged);
    }
  }
  std::vector<Judgement> verdicts;
  verdicts.reserve(due.size());
  for (const auto& [context, last] : due) {
    verdicts.push_back(Judge(trusts, last->chain, now));
  }
  base::MutexLock lock(&mu_);
  if (trusts.now != trust_) return more;  // It has changed meanwhile.
  for (size_t i = 0; i < due.size(); ++i) {
    Contact* const contact = Find(due[i].first.get());
    if (contact != nullptr) Renew(contact, verdicts[i], now);
  }
  return more;
}

ConnectionLedger::Counts ConnectionLedger::counts() const {
  Counts counts;
  {
    base::MutexLock lock(&mu_);
    counts = counts_;
    for (const auto& [id, connection] : connections_) {
      ++(connection.wire == Wire::kTls ? counts.open_tls
                                       : counts.open_plaintext);
      if (LeavingSince(connection) != absl::InfiniteFuture()) ++counts.leaving;
    }
  }
  for (const Shard& shard : shards_) {
    base::MutexLock lock(&shard.mu);
    counts.calls_plaintext += shard.calls_plaintext;
  }
  return counts;
}

size_t ConnectionLedger::contacts() const {
  base::MutexLock lock(&mu_);
  return contacts_.size();
}

absl::Time ConnectionLedger::LeavingSince(const Connection& connection) const {
  absl::Time since = std::min(
      {connection.nameless_since, connection.withdrawn_since,
       connection.wire == Wire::kTls ? no_tls_since_ : no_plaintext_since_});
  for (const Contact* const contact : connection.contacts) {
    since = std::min(since, contact->refused_since);
  }
  return since;
}

absl::Time ConnectionLedger::LeavingSince(const Contact& contact) const {
  absl::Time since = absl::InfiniteFuture();
  for (const Id id : contact.ids) {
    since = std::min(since, LeavingSince(connections_.at(id)));
  }
  return since;
}

bool ConnectionLedger::IsStale(const Contact& contact) const {
  return !contact.ids.empty() && contact.wire == Wire::kTls &&
         contact.era != era_.load();
}

std::vector<ConnectionLedger::Withdrawn> ConnectionLedger::ForgetWithdrawn(
    absl::Time now) {
  std::vector<Withdrawn> forgotten;
  // They say since when a connection has to leave.
  if (std::any_of(contacts_.begin(), contacts_.end(),
                  [&](const auto& one) { return IsStale(*one.second); })) {
    return forgotten;
  }
  const auto young = std::find_if(
      withdrawn_.begin(), withdrawn_.end(),
      [&](const Withdrawn& one) { return now - one.at < kShutAfter; });
  forgotten.assign(withdrawn_.begin(), young);
  withdrawn_.erase(withdrawn_.begin(), young);
  return forgotten;
}

void ConnectionLedger::SetNameless(Connection* connection, absl::Time since) {
  const auto count = [&]() -> size_t {
    return connection->nameless_since != absl::InfiniteFuture();
  };
  nameless_ -= count();
  connection->nameless_since = since;
  nameless_ += count();
}

void ConnectionLedger::Refresh(const Connection& connection) {
  const absl::Time since = LeavingSince(connection);
  if (since != absl::InfiniteFuture()) LookBy(since + kShutAfter);
  for (Contact* const contact : connection.contacts) Refresh(contact);
}

void ConnectionLedger::Refresh(Contact* contact) {
  const bool leaving = LeavingSince(*contact) != absl::InfiniteFuture();
  contact->leaving->store(leaving, std::memory_order_relaxed);
  Pass pass;
  pass.caller = {contact->peer, contact->leaving};
  if (!leaving && contact->wire == Wire::kPlaintext) {
    pass.era = era_.load();
    pass.until = absl::InfiniteFuture();
  } else if (!leaving && contact->era == era_.load()) {
    pass.era = era_.load();
    pass.until = contact->judged->verdict.until;
  }
  const void* const context = contact->context.get();
  Shard& shard = ShardOf(context);
  base::MutexLock lock(&shard.mu);
  std::swap(shard.passes[context], pass);
}  // `lock` is released before `pass`, the old one, is destroyed.

void ConnectionLedger::Renew(Contact* contact, const Judgement& verdict,
                             absl::Time now) {
  const PeerVerification& judged = verdict.judged->verdict;
  const bool same = contact->era == verdict.era;
  contact->era = verdict.era;
  contact->judged = verdict.judged;
  if (judged.status.ok()) contact->peer = PeerOfChain(verdict.judged);
  if (contact->ids.empty()) return;
  contact->refused_since =
      judged.status.ok()
          ? absl::InfiniteFuture()
          : std::min(contact->refused_since, same ? now : verdict.since);
  LookBy(judged.until);
  for (const Id id : contact->ids) Refresh(connections_.at(id));
}

void ConnectionLedger::LookBy(absl::Time at) {
  if (at >= next_look_) return;
  next_look_ = at;
  tell_sooner_ = true;
}

ConnectionLedger::Contact* ConnectionLedger::Find(const void* context) {
  const auto it = contacts_.find(context);
  return it == contacts_.end() ? nullptr : it->second.get();
}

ConnectionLedger::Contact* ConnectionLedger::Meet(
    Wire wire, const void* context, std::shared_ptr<const void> held) {
  ContactPtr& contact = contacts_[context];
  contact = std::make_unique<Contact>();
  contact->wire = wire;
  contact->context = std::move(held);
  contact->leaving = std::make_shared<std::atomic<bool>>(false);
  contact->place = unnamed_.insert(unnamed_.end(), context);
  called_ = std::min(called_ + 1, unclaimed_);
  Shard& shard = ShardOf(context);
  base::MutexLock lock(&shard.mu);
  shard.passes[context];  // It does not hold yet.
  return contact.get();
}

void ConnectionLedger::Name(Contact* contact, const std::string& peer_name,
                            absl::Time now) {
  const auto named = by_name_.find(peer_name);
  if (named == by_name_.end()) return;
  absl::Time first = absl::InfiniteFuture();
  absl::Time last = absl::InfinitePast();
  for (const Id id : named->second) {
    Connection& connection = connections_.at(id);
    if (connection.wire != contact->wire) continue;
    if (connection.contacts.empty()) --unclaimed_;
    connection.contacts.push_back(contact);
    contact->ids.push_back(id);
    first = std::min(first, connection.nameless_since);
    last = std::max(last, connection.nameless_since);
    SetNameless(&connection, absl::InfiniteFuture());
  }
  if (contact->ids.empty()) return;
  unnamed_.erase(contact->place);
  called_ = std::min(called_ - std::min<size_t>(called_, 1), unclaimed_);
  if (contact->wire == Wire::kTls) {
    const PeerVerification& judged = contact->judged->verdict;
    if (!judged.status.ok()) {
      // It has to leave since the withdrawal. One that may be newer than that
      // has had its only call.
      const bool older = last != absl::InfiniteFuture();
      contact->refused_since = older ? first : now - kRefuseAfter;
    }
    LookBy(contact->era == era_.load() ? judged.until : now);
  }
  for (const Id id : contact->ids) Refresh(connections_.at(id));
}

void ConnectionLedger::Part(Contact* contact, Id id) {
  auto& ids = contact->ids;
  ids.erase(std::remove(ids.begin(), ids.end(), id), ids.end());
  if (!ids.empty()) return Refresh(contact);
  const void* const context = contact->context.get();
  contact->refused_since = absl::InfiniteFuture();
  contact->gone = true;
  contact->place = gone_.insert(gone_.end(), context);
  // Nobody looks at it any more. What it still sends is ruled on anew.
  Shard& shard = ShardOf(context);
  base::MutexLock lock(&shard.mu);
  shard.passes[context].era = 0;
}

ConnectionLedger::ContactPtr ConnectionLedger::Forget(const void* context) {
  const auto it = contacts_.find(context);
  ContactPtr contact = std::move(it->second);
  contacts_.erase(it);
  if (contact->ids.empty()) ListOf(*contact).erase(contact->place);
  Shard& shard = ShardOf(context);
  base::MutexLock lock(&shard.mu);
  shard.passes.erase(context);
  return contact;
}

std::vector<ConnectionLedger::ContactPtr> ConnectionLedger::ForgetSpare() {
  std::vector<ContactPtr> spare;
  while (gone_.size() > kSpareContacts) {
    spare.push_back(Forget(gone_.front()));
  }
  // Some of these may be of open connections.
  while (unnamed_.size() > unclaimed_ + kSpareContacts) {
    spare.push_back(Forget(unnamed_.front()));
  }
  return spare;
}

ConnectionLedger::Shard& ConnectionLedger::ShardOf(const void* context) {
  // The table of a shard uses the lower bits.
  return shards_[absl::Hash<const void*>()(context) >>
                 (8 * sizeof(size_t) - kShardBits)];
}

bool ConnectionLedger::Holds(const Pass& pass, absl::Time now) const {
  return pass.era == era_.load(std::memory_order_acquire) && now < pass.until;
}

void ConnectionLedger::TellSooner() {
  {
    base::MutexLock lock(&mu_);
    if (!std::exchange(tell_sooner_, false)) return;
  }
  if (sooner_ != nullptr) sooner_();
}

}  // namespace mesh::server
