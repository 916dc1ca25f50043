#include "mesh/front/doors.h"

#include <algorithm>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "mesh/base/clock.h"
#include "mesh/log.h"
#include "mesh/telemetry/events.h"

namespace mesh::front {
namespace {

constexpr char kOtherPeers[] = "other";
constexpr char kPlaintextPeer[] = "plaintext";

server::Wires WiresOf(options::ServerMode mode) {
  server::Wires wires;
  wires.tls = mode != options::ServerMode::kPlaintext;
  wires.plaintext = mode != options::ServerMode::kStrict;
  return wires;
}

std::string ModeName(options::ServerMode mode) {
  switch (mode) {
    case options::ServerMode::kStrict:
      return "strict";
    case options::ServerMode::kPermissive:
      return "permissive";
    case options::ServerMode::kPlaintext:
      break;
  }
  return "plaintext";
}

// What the next handshakes show. No pair: TLS is not to be had.
core::ServerPair PairOf(const security::IdentityPtr& identity) {
  core::ServerPair pair;
  if (identity == nullptr || identity->bytes().chain.empty()) return pair;
  const security::IdentityBytes& bytes = identity->bytes();
  // They live as long as the identity, which cleanses its key.
  pair.chain = {identity, &bytes.chain};
  pair.key = {identity, &bytes.key};
  auto authorities = std::make_shared<std::string>();
  for (const auto& [domain, pem] : bytes.bundles) {
    absl::StrAppend(authorities.get(), pem, "\n");
  }
  pair.client_authorities = std::move(authorities);
  return pair;
}

// Whether a peer that `before` admits may be refused by `after`.
bool IsStricter(options::CrlMode before, options::CrlMode after) {
  return before != after && after != options::CrlMode::kIfPresent;
}

std::string NameOf(const security::Peer& peer) {
  if (peer.plaintext) return kPlaintextPeer;
  if (!peer.spiffe_id.empty()) return peer.spiffe_id;
  return peer.dns_names.empty() ? "nameless"
                                : absl::StrCat("dns:", peer.dns_names.front());
}

void TellOfPort(const service::Runtime& runtime, const std::string& failure) {
  runtime.Log(LogSeverity::kError, failure);
  telemetry::PortFailureEvent event;
  event.text = failure;
  for (const auto& observer : runtime.application().observers()) {
    observer->OnPortFailure(event);
  }
}

}  // namespace

Doors::Rules::Rules(std::shared_ptr<const security::Authorization> made,
                    const Rules* before)
    : authorization(std::move(made)), counts(*authorization) {
  options::ServerOptions options = authorization->options();
  if (options.mode != options::ServerMode::kStrict) return;
  if (before != nullptr) {
    leaving_mode = before->authorization->options().mode;
    if (leaving_mode == options.mode) leaving_mode = before->leaving_mode;
  }
  // In plaintext mode a rule about names would be an error. These rules decide
  // the same but for one thing, which Decide() makes good.
  options.mode = options::ServerMode::kPermissive;
  auto permissive = security::Authorization::Make(std::move(options));
  if (permissive.ok()) leaving = *std::move(permissive);
}

security::Decision Doors::Rules::Decide(
    const security::Peer& peer, absl::string_view path,
    absl::Span<const security::Header> headers) const {
  if (!peer.plaintext || leaving == nullptr) {
    return authorization->Decide(peer, path, headers);
  }
  security::Decision decision = leaving->Decide(peer, path, headers);
  // Only permissive servers admit a caller whom `allow` does not.
  if (leaving_mode == options::ServerMode::kPlaintext &&
      decision.reason == security::Reason::kNotAllowed &&
      authorization->options().rules == options::Mode::kEnforce) {
    decision.allowed = false;
    decision.observed = false;
  }
  return decision;
}

Doors::Doors(std::shared_ptr<service::Runtime> runtime)
    : runtime_(std::move(runtime)),
      max_peers_(static_cast<size_t>(runtime_->telemetry().max_peers)) {}

void Doors::Apply(std::shared_ptr<IdentityHolder> identity,
                  std::shared_ptr<const security::Authorization> rules) {
  const options::ServerOptions& options = rules->options();
  const options::CrlMode crl = options.crl;
  const server::Wires wires = WiresOf(options.mode);
  const std::shared_ptr<const Rules> before = rules_.Get();
  if (before == nullptr || !(before->authorization->options() == options)) {
    rules_.Set(std::make_shared<const Rules>(std::move(rules), before.get()));
  }
  OpenDoors doors;
  {
    base::MutexLock lock(&order_);
    doors = Open();
    const bool other = identity != identity_;
    if (other && identity != nullptr) identity->Add(weak_from_this());
    const bool again = other || crl != crl_;
    const bool stricter = IsStricter(crl_, crl);
    crl_ = crl;
    identity_.swap(identity);
    Renew(again, stricter, doors);
    for (const auto& door : doors) door->SetWires(wires);
  }
  LetGo(std::move(doors));
}

void Doors::OnIdentityChange() {
  OpenDoors doors;
  {
    base::MutexLock lock(&order_);
    doors = Open();
    Renew(/*always=*/false, /*withdrawn=*/false, doors);
  }
  LetGo(std::move(doors));
}

void Doors::Renew(bool always, bool withdrawn, const OpenDoors& doors) {
  const IdentityState state =
      identity_ != nullptr ? identity_->state() : IdentityState();
  if (!always && state.generation == told_) return;
  withdrawn |= shown_ != nullptr && (state.identity == nullptr ||
                                     shown_->WithdrawnBy(*state.identity));
  told_ = state.generation;
  shown_ = state.identity;
  // Handshakes first: what they let in is verified by the newer trust.
  {
    core::ServerPair pair = PairOf(state.identity);  // Then the old one.
    base::MutexLock lock(&mu_);
    std::swap(pair_, pair);
  }
  verify_ = state.identity != nullptr
                ? CallerVerifier(state.identity->shared_trust(),
                                 CrlModeOf(crl_, state), callers_,
                                 runtime_->wall(), &base::Clock::Real())
                : nullptr;
  leaf_ = leaves_.Show(state.identity.get(), runtime_->wall()());
  const uint64_t gone = withdrawn && state.identity != nullptr
                            ? leaves_.TakeWithdrawn(state.identity->trust())
                            : 0;
  for (const auto& door : doors) {
    door->SetTrust(verify_, withdrawn);
    door->SetShown(leaf_, gone);
  }
}

absl::StatusOr<std::shared_ptr<server::Attachment>> Doors::Listen(
    grpc::ServerBuilder* builder, absl::string_view address, int* port,
    std::shared_ptr<grpc::AuthMetadataProcessor> processor) {
  // The closures keep this object as long as the server lives.
  const std::shared_ptr<Doors> self = shared_from_this();
  server::ListenOptions options;
  options.pair = [self] { return self->Pair(); };
  options.authorize = [self](const server::GuardedCall& call) {
    return self->Admit(call);
  };
  options.processor = std::move(processor);
  // Log and observers are the application's code. On the port's own thread they
  // would delay what has to be shut, and they may end the server. So they are
  // told on the control thread.
  options.log = [runtime = runtime_](const std::string& line) {
    runtime->loop().Post(
        [runtime, line] { runtime->Log(LogSeverity::kWarning, line); });
  };
  options.failed = [runtime = runtime_](const std::string& why) {
    runtime->loop().Post([runtime, why] { TellOfPort(*runtime, why); });
  };
  {
    base::MutexLock lock(&order_);
    options.wires = WiresNow();
    options.verify = verify_;
  }
  // The processor, which may go here, is the application's code. So no lock is
  // held, and what has changed meanwhile is told below.
  absl::StatusOr<std::shared_ptr<server::ServerDoor>> door =
      server::Listen(builder, address, std::move(options), port);
  if (!door.ok()) return door.status();
  Add(*door);
  return std::shared_ptr<server::Attachment>(*std::move(door));
}

void Doors::Add(const std::shared_ptr<server::ServerDoor>& door) {
  base::MutexLock lock(&order_);
  door->SetWires(WiresNow());
  door->SetTrust(verify_, /*withdrawn=*/false);
  door->SetShown(leaf_, /*withdrawn=*/0);
  base::MutexLock list_lock(&mu_);
  doors_.erase(std::remove_if(doors_.begin(), doors_.end(),
                              [](const auto& weak) { return weak.expired(); }),
               doors_.end());
  doors_.push_back(door);
}

server::Wires Doors::WiresNow() const {
  const std::shared_ptr<const Rules> rules = rules_.Get();
  return rules != nullptr ? WiresOf(rules->authorization->options().mode)
                          : server::Wires{false, false};
}

core::ServerPair Doors::Pair() const {
  base::MutexLock lock(&mu_);
  return pair_;
}

// --- Calls

bool Doors::Admit(const server::GuardedCall& call) {
  const std::shared_ptr<const Rules>& rules = rules_.Get();
  absl::InlinedVector<security::Header, 24> headers;
  if (rules->authorization->reads_headers()) {
    headers.reserve(call.header_count);
    for (size_t i = 0; i < call.header_count; ++i) {
      headers.push_back({core::ViewOf(call.headers[i].key),
                         core::ViewOf(call.headers[i].value)});
    }
  }
  const security::Decision decision =
      rules->Decide(*call.peer, call.path, headers);
  if (!decision.allowed || decision.observed) {
    rules->counts.Add(decision);
    Audit(call, decision);
  }
  return decision.allowed;
}

void Doors::Audit(const server::GuardedCall& call,
                  const security::Decision& decision) {
  const std::string peer = NameOf(*call.peer);
  if (!decision.allowed) {
    base::MutexLock lock(&mu_);
    const auto known = denied_.find(peer);
    if (known != denied_.end()) {
      ++known->second;
    } else {
      ++denied_[denied_.size() < max_peers_ ? peer : kOtherPeers];
    }
  }
  uint64_t left_out = 0;
  if (!audit_limit_.Admit(base::Clock::Real().Now(), &left_out)) return;
  const std::string rule = security::CauseOf(decision);
  telemetry::DenialEvent event;
  event.peer = peer;
  event.method = call.path;
  event.rule = rule;
  event.enforced = !decision.allowed;
  event.left_out = left_out;
  for (const auto& observer : runtime_->application().observers()) {
    observer->OnDenial(event);
  }
}

// --- Metrics

telemetry::ServerSnapshot Doors::Metrics() const {
  telemetry::ServerSnapshot all;
  const std::shared_ptr<const Rules> rules = rules_.Get();
  if (rules != nullptr) {
    const security::RefusalCounts& counts = rules->counts;
    all.mode = ModeName(rules->authorization->options().mode);
    const auto add = [&](std::string rule,
                         security::RefusalCounts::Count count) {
      if (count.refused == 0 && count.observed == 0) return;
      all.denials.push_back({std::move(rule), count.refused, count.observed});
    };
    for (size_t i = 0; i < counts.deny_rules(); ++i) {
      add(absl::StrCat("deny[", i, "]"), counts.OfDeny(i));
    }
    for (const security::Reason reason :
         {security::Reason::kNotAllowed, security::Reason::kBadPath,
          security::Reason::kBadHeader, security::Reason::kPlaintext}) {
      security::Decision decision;
      decision.reason = reason;
      add(security::CauseOf(decision), counts.Of(reason));
    }
  }
  for (size_t i = 0; i < security::kPeerRefusals; ++i) {
    const uint64_t count = callers_->refused[i].load(std::memory_order_relaxed);
    if (count == 0) continue;
    const auto refusal = static_cast<security::PeerRefusal>(i);
    all.peers_refused[std::string(security::PeerRefusalName(refusal))] = count;
  }
  all.peers_without_crl = callers_->without_crl.load(std::memory_order_relaxed);
  for (const auto& door : Open()) {
    const server::ServerDoor::Counts counts = door->counts();
    const server::ConnectionLedger::Counts& ledger = counts.connections;
    ++all.ports;
    all.ports_failed += counts.listener.failed;
    all.connections_tls += ledger.open_tls;
    all.connections_plaintext += ledger.open_plaintext;
    all.connections_leaving += ledger.leaving;
    all.accepted_tls += ledger.accepted_tls;
    all.accepted_plaintext += ledger.accepted_plaintext;
    all.closed_before_call += ledger.closed_before_call;
    all.shut += ledger.shut;
    all.calls_plaintext += ledger.calls_plaintext;
    all.calls_unverified += ledger.refused_unverified;
    all.calls_leaving += ledger.refused_leaving;
    all.closed_silent += counts.listener.silent;
    all.closed_other_bytes += counts.listener.other_bytes;
    all.closed_not_taken += counts.listener.not_taken;
  }
  base::MutexLock lock(&mu_);
  all.denied_by_peer = denied_;
  return all;
}

Doors::OpenDoors Doors::Open() const {
  OpenDoors open;
  base::MutexLock lock(&mu_);
  for (const std::weak_ptr<server::ServerDoor>& weak : doors_) {
    if (auto door = weak.lock()) open.push_back(std::move(door));
  }
  return open;
}

void Doors::LetGo(OpenDoors doors) const {
  runtime_->loop().Post([doors = std::move(doors)] {});
}

}  // namespace mesh::front
