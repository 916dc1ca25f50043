#include "tests/attacks/site.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "mesh/base/clock.h"
#include "mesh/security/verifier.h"
#include "tests/attacks/key_bytes.h"

namespace mesh::test {
namespace {

using security::testing::Must;

// Makes the doors' own pairs, which are never shown.
const Pki& NobodysPki() {
  static const auto* const pki = new Pki("nobody");
  return *pki;
}

std::shared_ptr<const std::string> Shared(std::string text) {
  return std::make_shared<const std::string>(std::move(text));
}

}  // namespace

certs::Key Watched(certs::Key key) {
  Outputs::OfProcess().AddKey(key.Pem());
  return key;
}

certs::Key NewKey(certs::KeyType type, int rsa_bits) {
  return Watched(Must(certs::Key::Make(type, rsa_bits)));
}

Shown ShownOf(const certs::Authority& by, const certs::CertificateOptions& leaf,
              const certs::Key& key) {
  return {Must(by.Issue(leaf, key)).chain, key};
}

certs::CertificateOptions Cast::Options(const std::string& id) const {
  certs::CertificateOptions leaf = scene.Svid(id);
  leaf.names.push_back({certs::AltName::Type::kDns, "localhost"});
  return leaf;
}

security::IdentityBytes Cast::BytesOf(const Shown& shown) const {
  security::IdentityBytes bytes;
  bytes.chain = shown.chain;
  bytes.key = shown.key->Pem();
  bytes.bundles = {
      {"prod", root.pem()}, {"", root.pem()}, {"other", other.pem()}};
  return bytes;
}

security::IdentityPtr Cast::IdentityOf(
    const Shown& shown, const std::vector<std::string>& crls) const {
  security::IdentityBytes bytes = BytesOf(shown);
  bytes.crls = crls;
  return Must(security::Identity::Make(std::move(bytes), absl::Now()));
}

const Cast& TheCast() {
  static const auto* const cast = new Cast;
  return *cast;
}

void RulesSlot::Set(options::ServerOptions rules) {
  auto made = Must(security::Authorization::Make(std::move(rules)));
  base::MutexLock lock(&mu_);
  rules_.swap(made);
}

bool RulesSlot::Admits(const server::GuardedCall& call) {
  std::shared_ptr<const security::Authorization> rules;
  {
    base::MutexLock lock(&mu_);
    rules = rules_;
  }
  std::vector<security::Header> headers;
  for (size_t i = 0; i < call.header_count; ++i) {
    headers.push_back({core::ViewOf(call.headers[i].key),
                       core::ViewOf(call.headers[i].value)});
  }
  const security::Decision decision =
      rules->Decide(*call.peer, call.path, headers);
  base::MutexLock lock(&mu_);
  if (decision.observed) ++observed_;
  return decision.allowed;
}

int RulesSlot::observed() const {
  base::MutexLock lock(&mu_);
  return observed_;
}

server::VerifyPeer VerifyBy(security::IdentityPtr identity) {
  return [identity = std::move(identity)](const std::string& chain) {
    const absl::Time now = absl::Now();
    security::PeerPolicy policy;
    policy.side = security::PeerSide::kClient;
    policy.crl =
        security::CrlCheckOf(options::CrlMode::kDefault, identity->trust());
    security::PeerVerdict judged =
        security::VerifyPeer(chain, identity->trust(), policy, now);
    server::PeerVerification verdict;
    if (judged.admitted()) {
      verdict.peer = std::move(judged.peer);
      verdict.until = base::Clock::Real().Now() + (judged.not_after - now);
    } else {
      Outputs::OfProcess().Add(judged.text);
      verdict.status =
          absl::UnauthenticatedError(absl::StripSuffix(judged.text, "."));
    }
    return verdict;
  };
}

core::ServerPair PairOf(const security::Identity& identity) {
  std::string authorities;
  for (const auto& [domain, pem] : identity.bytes().bundles) {
    if (authorities.find(pem) == std::string::npos) authorities += pem;
  }
  core::ServerPair pair;
  pair.chain = Shared(identity.bytes().chain);
  pair.key = Shared(identity.bytes().key);
  pair.client_authorities = Shared(std::move(authorities));
  return pair;
}

Site::Site(options::ServerOptions rules, server::Wires wires,
           const Door::Change& change)
    : rules_(std::make_shared<RulesSlot>(std::move(rules))) {
  door_ = std::make_unique<Door>(
      NobodysPki(), nullptr, wires,
      [&](server::ListenOptions* options, grpc::ServerBuilder* builder) {
        options->authorize = [slot = rules_](const server::GuardedCall& call) {
          return slot->Admits(call);
        };
        options->log = [](const std::string& line) {
          Outputs::OfProcess().Add(line);
        };
        if (change != nullptr) change(options, builder);
      });
  Use(TheCast().IdentityOf(TheCast().server));
}

void Site::Use(const security::IdentityPtr& identity, bool withdrawn) {
  door_->Show(PairOf(*identity));
  door_->door().SetTrust(VerifyBy(identity), withdrawn);
}

RawEnd Site::CallWith(TlsSettings settings) {
  TlsLink link(port(), std::move(settings));
  if (!link.Handshake()) return RawEnd();
  const RawEnd end = RawHttp2(&link).Call(kUnaryPath);
  Outputs::OfProcess().Add(end.message);
  return end;
}

testing::AssertionResult Site::ServesOn() {
  const Cast& cast = TheCast();
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = cast.root.pem();
  options.pem_cert_chain = cast.client.chain;
  options.pem_private_key = cast.client.key->Pem();
  const Answer answer =
      Ask(NewStub(door_->target(), grpc::SslCredentials(options)).get());
  if (answer.status.ok()) return testing::AssertionSuccess();
  Outputs::OfProcess().Add(answer.status.error_message());
  return testing::AssertionFailure() << answer.status.error_message();
}

testing::AssertionResult IsRefused(const RawEnd& end) {
  switch (end.status) {
    case -1:
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::UNAUTHENTICATED:
    case grpc::StatusCode::PERMISSION_DENIED:
      return testing::AssertionSuccess() << end.text();
    default:
      return testing::AssertionFailure() << end.text();
  }
}

testing::AssertionResult IsServed(const RawEnd& end) {
  if (end.status == 0) return testing::AssertionSuccess();
  return testing::AssertionFailure() << end.text();
}

options::ServerOptions Allow(options::Rule rule) {
  options::ServerOptions rules;
  rules.allow.push_back(std::move(rule));
  return rules;
}

options::ServerOptions Deny(options::Rule rule) {
  options::ServerOptions rules;
  rules.deny.push_back(std::move(rule));
  return rules;
}

options::Rule From(std::vector<std::string> from) {
  options::Rule rule;
  rule.from = std::move(from);
  return rule;
}

}  // namespace mesh::test
