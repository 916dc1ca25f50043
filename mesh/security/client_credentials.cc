#include "mesh/security/client_credentials.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "grpcpp/security/tls_certificate_verifier.h"
#include "grpcpp/security/tls_credentials_options.h"
#include "mesh/base/tsan_notes.h"
#include "mesh/security/verifier.h"
#include "openssl/crypto.h"

namespace mesh::security {
namespace {

// How many of the allowed names a message has.
constexpr size_t kMostNamed = 3;

absl::string_view ViewOf(grpc::string_ref text) {
  return absl::string_view(text.data(), text.size());
}

// What a certificate has to be for, when a connection is to `target`:
// "cart.prod", "cart.prod:443", "[::1]:443", "fe80::1%eth0".
std::string HostOf(absl::string_view target) {
  if (absl::ConsumePrefix(&target, "[")) {
    target = target.substr(0, target.find(']'));
  } else if (std::count(target.begin(), target.end(), ':') == 1) {
    target = target.substr(0, target.find(':'));
  }
  return std::string(target.substr(0, target.find('%')));
}

std::string WhyRefused(const PeerVerdict& verdict, const PeerPolicy& policy) {
  std::string text =
      verdict.claim.empty()
          ? absl::StrCat("the server is refused: ", verdict.text)
          : absl::StrCat("the server that calls itself ", verdict.claim,
                         " is refused: ", verdict.text);
  if (verdict.refusal != PeerRefusal::kNotAllowed || policy.allowed.empty()) {
    return text;
  }
  const size_t named = std::min(policy.allowed.size(), kMostNamed);
  for (size_t i = 0; i < named; ++i) {
    absl::StrAppend(&text, i == 0 ? " It must be " : " or ",
                    policy.allowed[i].text());
  }
  const size_t more = policy.allowed.size() - named;
  if (more > 0) absl::StrAppend(&text, " or one of ", more, " more");
  return text + ".";
}

}  // namespace

// What all connections share.
class ClientCredentials::Door {
 public:
  Door(std::shared_ptr<const Trust> trust, Peer peer,
       std::function<absl::Time()> wall,
       std::shared_ptr<ClientCounters> counters)
      : trust_(std::move(trust)),
        wall_(std::move(wall)),
        counters_(std::move(counters)) {
    policy_.side = PeerSide::kServer;
    policy_.crl = CrlCheckOf(peer.crl, *trust_);
    policy_.allowed = std::move(peer.allowed);
    policy_.one_bundle = peer.one_bundle;
  }

  bool by_host() const { return policy_.allowed.empty(); }
  bool looks_for_lists() const { return policy_.crl != CrlCheck::kOff; }

  // Judges a server that shows `chain` on a connection to `target`.
  PeerVerdict Judge(absl::string_view chain, absl::string_view target) const {
    PeerPolicy policy = policy_;
    if (by_host()) {
      policy.host = HostOf(target);
      // Empty would mean every name. No certificate is for this one.
      if (policy.host.empty()) policy.host = ".";
    }
    PeerVerdict verdict = VerifyPeer(chain, *trust_, policy, wall_());
    counters_->Count(verdict);
    if (!verdict.admitted()) verdict.text = WhyRefused(verdict, policy);
    return verdict;
  }

 private:
  // No more of the identity: connections outlive it, and its key has to go.
  const std::shared_ptr<const Trust> trust_;
  const std::function<absl::Time()> wall_;
  const std::shared_ptr<ClientCounters> counters_;
  PeerPolicy policy_;  // But the host, which each connection has of its own.
};

// Judges the servers of one connection. gRPC owns it, and orders what threads
// do with it. It reads the certificates and nothing else: the names that gRPC
// has taken from them end at a NUL.
class ClientCredentials::Verifier final
    : public grpc::experimental::ExternalCertificateVerifier {
 public:
  Verifier(std::shared_ptr<const Door> door,
           std::function<void(absl::Time)> expires)
      : door_(std::move(door)), expires_(std::move(expires)) {
    base::NoteBefore(this);
  }
  ~Verifier() override { base::NoteAfter(this); }

  bool Verify(grpc::experimental::TlsCustomVerificationCheckRequest* request,
              std::function<void(grpc::Status)> /*callback*/,
              grpc::Status* status) override {
    base::NoteAfter(this);
    const PeerVerdict verdict =
        door_->Judge(ViewOf(request->peer_cert_full_chain()),
                     ViewOf(request->target_name()));
    if (!verdict.admitted()) {
      *status = grpc::Status(grpc::StatusCode::UNAUTHENTICATED, verdict.text);
    } else if (expires_ != nullptr) {
      expires_(verdict.not_after);
    }
    base::NoteBefore(this);
    return true;  // It is done.
  }

  void Cancel(grpc::experimental::TlsCustomVerificationCheckRequest*) override {
  }

 private:
  const std::shared_ptr<const Door> door_;
  const std::function<void(absl::Time)> expires_;
};

ClientCredentials::ClientCredentials(const IdentityPtr& identity, Peer peer,
                                     std::function<absl::Time()> wall,
                                     std::shared_ptr<ClientCounters> counters)
    : door_(std::make_shared<const Door>(identity->shared_trust(),
                                         std::move(peer), std::move(wall),
                                         std::move(counters))),
      has_bundles_(!identity->bytes().bundles.empty()),
      has_chain_(!identity->bytes().chain.empty()) {
  const IdentityBytes& bytes = identity->bytes();
  if (!has_bundles_ && door_->by_host() && !door_->looks_for_lists()) {
    grpc::SslCredentialsOptions options;
    options.pem_cert_chain = bytes.chain;
    options.pem_private_key = bytes.key;
    system_ = grpc::SslCredentials(options);
    OPENSSL_cleanse(options.pem_cert_chain.data(),
                    options.pem_cert_chain.size());
    OPENSSL_cleanse(options.pem_private_key.data(),
                    options.pem_private_key.size());
    return;
  }
  // gRPC makes copies of its own, which nobody cleanses.
  std::vector<grpc::experimental::IdentityKeyCertPair> pairs;
  if (has_chain_) pairs.push_back({bytes.key, bytes.chain});
  provider_ =
      std::make_shared<grpc::experimental::StaticDataCertificateProvider>(
          identity->trust().AllPem(), pairs);
  for (grpc::experimental::IdentityKeyCertPair& pair : pairs) {
    OPENSSL_cleanse(pair.private_key.data(), pair.private_key.size());
    // A file may have both, the chain and the key.
    OPENSSL_cleanse(pair.certificate_chain.data(),
                    pair.certificate_chain.size());
  }
}

std::shared_ptr<grpc::ChannelCredentials> ClientCredentials::Make(
    std::function<void(absl::Time)> expires) const {
  if (system_ != nullptr) return system_;
  grpc::experimental::TlsChannelCredentialsOptions options;
  options.set_certificate_provider(provider_);
  // Without this gRPC takes the system's authorities, and Verify() refuses all.
  if (has_bundles_) options.watch_root_certs();
  if (has_chain_) options.watch_identity_key_cert_pairs();
  options.set_verify_server_certs(true);
  options.set_check_call_host(door_->by_host());
  options.set_certificate_verifier(
      grpc::experimental::ExternalCertificateVerifier::Create<Verifier>(
          door_, std::move(expires)));
  return grpc::experimental::TlsCredentials(options);
}

}  // namespace mesh::security
