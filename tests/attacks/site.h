#ifndef MESH_TESTS_ATTACKS_SITE_H_
#define MESH_TESTS_ATTACKS_SITE_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "gtest/gtest.h"
#include "mesh/base/mutex.h"
#include "mesh/certs/authority.h"
#include "mesh/options/security.h"
#include "mesh/security/authorization.h"
#include "mesh/security/identity.h"
#include "mesh/security/testing/certificates.h"
#include "mesh/server/listen.h"
#include "tests/attacks/raw_http2.h"
#include "tests/attacks/raw_tls.h"
#include "tests/listen/door_test_util.h"

// Those who are attacked: identities, and a server that is held to its own.

namespace mesh::test {

inline constexpr char kCart[] = "spiffe://prod/cart";
inline constexpr char kServer[] = "spiffe://prod/server";
inline constexpr char kUnaryPath[] = "/mesh.test.TestService/Unary";

// A new key; no output of this process may have its bytes.
certs::Key NewKey(certs::KeyType type = certs::KeyType::kP256,
                  int rsa_bits = 2048);
certs::Key Watched(certs::Key key);

// What a holder of `key` shows whom `by` has certified.
Shown ShownOf(const certs::Authority& by, const certs::CertificateOptions& leaf,
              const certs::Key& key = NewKey());

// The authorities of all tests of a process. All are valid now. "prod" is
// everybody's own trust domain.
struct Cast {
  security::testing::Scene scene{absl::Now()};
  // Vouches for "prod" and for DNS names.
  const certs::Authority& root = scene.root;
  certs::Authority middle = scene.MakeBelow(scene.root, "middle");
  // Vouches for "other".
  certs::Authority other = scene.MakeRoot("other root");
  // Nobody trusts it, and it has the name of `root`.
  certs::Authority stranger = scene.MakeRoot("root");

  // What they show who do no wrong. Each is for "localhost", too.
  Shown client = ShownOf(root, Options(kCart));
  Shown server = ShownOf(root, Options(kServer));

  // An X.509-SVID for "localhost", too.
  certs::CertificateOptions Options(const std::string& id) const;
  // The identity of a process that shows `shown` and trusts `root` and `other`,
  // each for its own names.
  security::IdentityPtr IdentityOf(
      const Shown& shown, const std::vector<std::string>& crls = {}) const;
  // What it is made of.
  security::IdentityBytes BytesOf(const Shown& shown) const;
};
const Cast& TheCast();

// The rules of a server, which may change while it runs. Thread-safe.
class RulesSlot {
 public:
  explicit RulesSlot(options::ServerOptions rules) { Set(std::move(rules)); }

  void Set(options::ServerOptions rules);
  bool Admits(const server::GuardedCall& call);
  // Calls that were admitted although the rules would refuse them.
  int observed() const;

 private:
  mutable base::Mutex mu_;
  std::shared_ptr<const security::Authorization> rules_ ABSL_GUARDED_BY(mu_);
  int observed_ ABSL_GUARDED_BY(mu_) = 0;
};

// How a server verifies its callers by `identity`.
server::VerifyPeer VerifyBy(security::IdentityPtr identity);
// What it shows by it. Each one is another generation.
core::ServerPair PairOf(const security::Identity& identity);

// A server on a port of mesh, whose identity and rules a test sets. It begins
// with the good ones of the cast.
class Site {
 public:
  explicit Site(options::ServerOptions rules = {},
                server::Wires wires = {true, false},
                const Door::Change& change = nullptr);

  // From the next handshake and the next call on. `withdrawn`: as in
  // ServerDoor::SetTrust().
  void Use(const security::IdentityPtr& identity, bool withdrawn = false);
  void SetRules(options::ServerOptions rules) { rules_->Set(std::move(rules)); }

  int port() const { return door_->port(); }
  Door& door() { return *door_; }
  // Calls that a handler saw.
  int handled() { return door_->seen().calls; }
  int observed() const { return rules_->observed(); }

  // Over a new connection with these settings.
  RawEnd CallWith(TlsSettings settings);
  RawEnd CallWith(const Shown& shown) {
    TlsSettings settings;
    settings.shown = shown;
    return CallWith(std::move(settings));
  }

  // Whether a caller who does no wrong is served. It is gRPC's own client.
  testing::AssertionResult ServesOn();

 private:
  const std::shared_ptr<RulesSlot> rules_;
  std::unique_ptr<Door> door_;
};

// Whether a call was refused: its connection was closed, or its status is
// UNAVAILABLE, UNAUTHENTICATED or PERMISSION_DENIED.
testing::AssertionResult IsRefused(const RawEnd& end);
testing::AssertionResult IsServed(const RawEnd& end);

// Rules of one rule.
options::ServerOptions Allow(options::Rule rule);
options::ServerOptions Deny(options::Rule rule);
options::Rule From(std::vector<std::string> from);

}  // namespace mesh::test

#endif  // MESH_TESTS_ATTACKS_SITE_H_
