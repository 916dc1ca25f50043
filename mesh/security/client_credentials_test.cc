#include "mesh/security/client_credentials.h"

#include <stdlib.h>

#include <atomic>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/base/clock.h"
#include "mesh/base/mutex.h"
#include "mesh/certs/authority.h"
#include "mesh/security/source.h"
#include "mesh/security/testing/certificates.h"
#include "mesh/security/testing/servers.h"
#include "openssl/ssl.h"

// The client door before real servers: gRPC's, and one of OpenSSL alone that
// shows what gRPC's would not.

namespace mesh::security {
namespace {

using certs::AltName;
using certs::Issued;
using options::CrlMode;
using ::testing::AllOf;
using testing::Answer;
using testing::Call;
using testing::Connects;
using testing::GrpcServer;
using ::testing::HasSubstr;
using testing::Must;
using testing::RawServer;
using testing::Scene;

constexpr char kCart[] = "spiffe://prod/cart";
constexpr AltName::Type kUri = AltName::Type::kUri;
constexpr AltName::Type kDns = AltName::Type::kDns;
constexpr AltName::Type kIp = AltName::Type::kIp;
// The servers listen there.
const std::string& kLoopback = *new std::string("\x7f\0\0\1", 4);

std::vector<PeerPattern> Patterns(const std::vector<std::string>& texts) {
  return Must(ParsePeerPatterns(texts));
}

// An authority that gRPC takes for one of the system's. gRPC reads those once
// in a process, when it first needs them.
const certs::Authority& SystemAuthority() {
  static const auto* const authority = [] {
    const absl::Time now = base::WallTime();
    const certs::Authority root = Must(certs::Authority::MakeRoot(
        certs::AuthorityOptions("system-root", now - absl::Hours(1),
                                now + absl::Hours(1)),
        Must(certs::Key::Make(certs::KeyType::kP256))));
    const std::string path = ::testing::TempDir() + "/system-roots.pem";
    std::ofstream(path) << root.pem();
    setenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", path.c_str(), 1);
    return new certs::Authority(root);
  }();
  return *authority;
}

// A process of the trust domain "prod", and what it dials.
class ClientDoorTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { SystemAuthority(); }

  ClientDoorTest() {
    scene_.now = base::WallTime();
    scene_.from = scene_.now - absl::Hours(1);
    scene_.until = scene_.now + absl::Hours(1);
    scene_.root = scene_.MakeRoot("prod-root");
    bytes_.bundles = {{"prod", scene_.root.pem()}, {"", scene_.root.pem()}};
  }

  // What a server of "prod" shows that is spiffe://prod/cart.
  Issued Cart() const { return Issue(scene_.Svid(kCart)); }
  Issued Issue(const certs::CertificateOptions& leaf) const {
    return Must(scene_.root.Issue(leaf));
  }
  Issued Named(const std::vector<AltName>& names,
               const std::string& common_name = "") const {
    certs::CertificateOptions leaf = scene_.Svid(kCart);
    leaf.names = names;
    leaf.common_name = common_name;
    return Issue(leaf);
  }

  ClientCredentials Door(const std::vector<std::string>& allowed,
                         CrlMode crl = CrlMode::kDefault) const {
    return ClientCredentials(Must(Identity::Make(bytes_, scene_.now)),
                             {Patterns(allowed), crl}, wall_, counters_);
  }
  // Calls over a new connection of a new door.
  Answer CallBy(const std::vector<std::string>& allowed,
                const std::string& target,
                const std::string& authority = "") const {
    return Call(target, Door(allowed).Make(nullptr), authority);
  }
  // "ok", or why mesh refuses a server that shows this.
  std::string Why(const std::vector<std::string>& allowed, const Issued& shown,
                  CrlMode crl = CrlMode::kDefault) {
    const GrpcServer server(shown);
    counters_ = std::make_shared<ClientCounters>();
    const Answer answer =
        Call(server.target(), Door(allowed, crl).Make(nullptr));
    if (answer.status.ok()) return "ok";
    EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::UNAVAILABLE);
    last_text_ = answer.status.error_message();
    for (size_t i = 1; i < kPeerRefusals; ++i) {
      const auto refusal = static_cast<PeerRefusal>(i);
      if (counters_->count(refusal) > 0) {
        return std::string(PeerRefusalName(refusal));
      }
    }
    return "grpc";  // Its own check.
  }

  Scene scene_;
  IdentityBytes bytes_;
  std::function<absl::Time()> wall_ = &base::WallTime;
  std::shared_ptr<ClientCounters> counters_ =
      std::make_shared<ClientCounters>();
  std::string last_text_;  // What Why() has got from gRPC.
};

TEST_F(ClientDoorTest, ItsConnectionsKeepNoKey) {
  const Issued own = Issue(scene_.Svid("spiffe://prod/shop"));
  bytes_.chain = own.chain;
  bytes_.key = own.key;
  IdentityPtr identity = Must(Identity::Make(bytes_, scene_.now));
  const ClientCredentials door(identity, {Patterns({kCart})}, wall_, counters_);
  const std::shared_ptr<grpc::ChannelCredentials> made = door.Make(nullptr);
  const std::weak_ptr<const Identity> weak = identity;
  identity.reset();
  EXPECT_TRUE(weak.expired());
  // They know all the same whom to trust, and what to show.
  const GrpcServer server(Cart());
  EXPECT_TRUE(Call(server.target(), made).status.ok());
}

// ---- who is meant -----------------------------------------------------------

TEST_F(ClientDoorTest, AServerIsKnownByItsName) {
  const GrpcServer server(Cart());
  EXPECT_TRUE(CallBy({kCart}, server.target()).status.ok());
  EXPECT_TRUE(CallBy({"spiffe://prod/*"}, server.target()).status.ok());
  EXPECT_TRUE(CallBy({"spiffe://a/b", kCart}, server.target()).status.ok());
  // Its address and its authority are not asked for.
  EXPECT_TRUE(CallBy({kCart}, server.target(), "elsewhere").status.ok());
  EXPECT_TRUE(Call(server.target(), Door({kCart}).Make(nullptr), "one", "two")
                  .status.ok());
  EXPECT_EQ(counters_->count(PeerRefusal::kNone), 5);

  const Answer other = CallBy({"spiffe://prod/admin"}, server.target());
  EXPECT_EQ(other.status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(counters_->count(PeerRefusal::kNotAllowed), 1);
  EXPECT_TRUE(CallBy({kCart}, server.target()).status.ok()) << "afterwards";
}

TEST_F(ClientDoorTest, AFailedCallSaysWhoWasRefusedAndWhy) {
  const GrpcServer server(Cart());
  const std::vector<std::string> allowed = {
      "spiffe://prod/a", "spiffe://prod/b", "dns:c", "dns:d", "dns:e"};
  EXPECT_THAT(
      CallBy(allowed, server.target()).status.error_message(),
      AllOf(HasSubstr(server.target()),
            HasSubstr("the server that calls itself \"spiffe://prod/cart\" is "
                      "refused: the peer \"spiffe://prod/cart\" is trusted, "
                      "and is not one of those that are allowed here. It must "
                      "be spiffe://prod/a or spiffe://prod/b or dns:c or one "
                      "of 2 more.")));
  EXPECT_THAT(
      CallBy({}, server.target(), "cart.prod").status.error_message(),
      HasSubstr("is trusted, and its certificate is not for \"cart.prod\"."));
  bytes_.bundles.erase("prod");
  EXPECT_THAT(CallBy({kCart}, server.target()).status.error_message(),
              HasSubstr("the server that calls itself \"spiffe://prod/cart\" "
                        "is refused: there is no bundle of the trust domain "
                        "\"prod\"."));
}

TEST_F(ClientDoorTest, NamesAreReadFromTheCertificateByteByByte) {
  EXPECT_EQ(Why({kCart}, Named({{kUri, kCart}})), "ok");
  // What gRPC tells of this one is "spiffe://prod/cart".
  EXPECT_EQ(Why({kCart},
                Named({{kUri, std::string("spiffe://prod/cart\0.evil", 24)}})),
            "bad_name");
  const std::string admin = "spiffe://prod/admin";
  EXPECT_EQ(Why({kCart}, Named({{kUri, kCart}, {kUri, admin}})), "bad_name");
  EXPECT_EQ(Why({kCart}, Named({{kUri, admin}, {kUri, kCart}})), "bad_name");
  EXPECT_EQ(Why({kCart}, Named({{kUri, kCart}, {kUri, "https://prod/"}})),
            "bad_name");
  EXPECT_EQ(Why({kCart}, Named({{kUri, "SPIFFE://prod/cart"}})), "bad_name");
  EXPECT_EQ(Why({kCart}, Named({{kUri, "spiffe://prod/cart/"}})), "bad_name");
  EXPECT_EQ(Why({kCart}, Named({{kUri, "spiffe://prod/cart-evil"}})),
            "not_allowed");
  EXPECT_EQ(
      Why({"spiffe://prod/cart/*"}, Named({{kUri, "spiffe://prod/cart-evil"}})),
      "not_allowed");
  // No other kind of name is a SPIFFE ID.
  EXPECT_EQ(Why({kCart}, Named({{AltName::Type::kEmail, kCart}}, kCart)),
            "not_allowed");
  EXPECT_EQ(Why({kCart}, Named({{kDns, "cart"}}, kCart)), "not_allowed");
}

TEST_F(ClientDoorTest, ADnsNameIsOneOfTheCertificates) {
  EXPECT_EQ(Why({"dns:cart.prod"}, Named({{kDns, "cart.prod"}})), "ok");
  EXPECT_EQ(Why({"dns:cart.prod"}, Named({{kDns, "x"}, {kDns, "CART.prod"}})),
            "ok");
  EXPECT_EQ(Why({"dns:cart.prod"}, Named({{kDns, "*.prod"}})), "not_allowed");
  EXPECT_EQ(Why({"dns:cart.prod"}, Named({{kDns, "cart.prod.evil"}})),
            "not_allowed");
  EXPECT_EQ(Why({"dns:cart.prod"},
                Named({{kDns, std::string("cart.prod\0.evil", 15)}})),
            "bad_name");
  EXPECT_EQ(Why({"dns:cart.prod"}, Named({}, "cart.prod")), "not_allowed");
  EXPECT_EQ(Why({"dns:cart.prod"}, Named({{kIp, kLoopback}})), "not_allowed");
}

TEST_F(ClientDoorTest, AnAuthorityVouchesForItsOwnDomainOnly) {
  const certs::Authority other = scene_.MakeRoot("other-root");
  bytes_.bundles["other"] = other.pem();
  const auto by = [this](const certs::Authority& authority,
                         const std::string& id) {
    return Must(authority.Issue(scene_.Svid(id)));
  };
  EXPECT_EQ(Why({kCart}, Cart()), "ok");
  EXPECT_EQ(Why({"spiffe://other/x"}, by(other, "spiffe://other/x")), "ok");
  // gRPC, which has one bundle only, would take both.
  EXPECT_EQ(Why({kCart}, by(other, kCart)), "unknown_authority");
  EXPECT_EQ(Why({"spiffe://other/x"}, Issue(scene_.Svid("spiffe://other/x"))),
            "unknown_authority");
  EXPECT_EQ(Why({"spiffe://third/x"}, Issue(scene_.Svid("spiffe://third/x"))),
            "no_bundle");
  // Nor does a foreign authority vouch for a DNS name or a host.
  certs::CertificateOptions both = scene_.Svid("spiffe://other/x");
  both.names.push_back({kDns, "cart.prod"});
  both.names.push_back({kIp, kLoopback});
  EXPECT_EQ(Why({"dns:cart.prod"}, Must(other.Issue(both))), "not_allowed");
  EXPECT_EQ(Why({}, Must(other.Issue(both))), "not_allowed");
  both.names[0].bytes = kCart;
  EXPECT_EQ(Why({"dns:cart.prod"}, Issue(both)), "ok");
  EXPECT_EQ(Why({}, Issue(both)), "ok") << "for 127.0.0.1";
}

// ---- without names ----------------------------------------------------------

TEST_F(ClientDoorTest, WithoutNamesItAsksWhatSslCredentialsAsk) {
  struct Row {
    std::vector<AltName> names;
    std::string common_name;
    std::string authority;
    bool admitted;
  };
  const std::string loopback6 = std::string(15, '\0') + "\x01";
  const std::vector<Row> rows = {
      // A table.
      {{{kDns, "cart.prod.example"}}, "", "cart.prod.example", true},
      {{{kDns, "cart.prod.example"}}, "", "cart.prod.example:8443", true},
      {{{kDns, "CART.prod.example"}}, "", "cart.PROD.example", true},
      {{{kDns, "cart.prod.example"}}, "", "cart.prod.example.", true},
      {{{kDns, "cart.prod.example."}}, "", "cart.prod.example", true},
      {{{kDns, "x"}, {kDns, "cart"}}, "", "cart", true},
      {{{kDns, "cart.prod.example"}}, "", "prod.example", false},
      {{{kDns, "cart.prod.example"}}, "", "x.cart.prod.example", false},
      {{{kDns, "*.prod.example"}}, "", "cart.prod.example", true},
      {{{kDns, "*.prod.example"}}, "", "x.cart.prod.example", false},
      {{{kDns, "*.prod.example"}}, "", "prod.example", false},
      {{{kDns, "*.example"}}, "", "prod.example", false},
      {{{kDns, "*"}}, "", "cart", false},
      {{{kDns, "c*.prod.example"}}, "", "cart.prod.example", false},
      {{{kDns, "cart.*.example"}}, "", "cart.prod.example", false},
      {{}, "cart.prod.example", "cart.prod.example", true},
      {{}, "*.prod.example", "cart.prod.example", true},
      {{{kDns, "x"}}, "cart.prod.example", "cart.prod.example", false},
      {{{kIp, kLoopback}}, "cart", "cart", false},
      {{{kIp, kLoopback}}, "", "127.0.0.1", true},
      {{{kIp, kLoopback}}, "", "", true},  // The target's.
      {{{kIp, kLoopback}}, "", "127.0.0.2", false},
      {{{kDns, "127.0.0.1"}}, "", "127.0.0.1", true},
      {{}, "127.0.0.1", "127.0.0.1", false},
      {{{kIp, loopback6}}, "", "[::1]:8443", true},
      {{{kIp, loopback6}}, "", "[::2]:8443", false},
  };
  grpc::SslCredentialsOptions plain;
  plain.pem_root_certs = scene_.root.pem();
  bytes_.bundles = {{"", scene_.root.pem()}};
  for (const Row& row : rows) {
    const std::string about =
        absl::StrCat(row.names.empty() ? row.common_name : row.names[0].bytes,
                     " for ", row.authority);
    const GrpcServer server(Named(row.names, row.common_name));
    EXPECT_EQ(CallBy({}, server.target(), row.authority).status.ok(),
              row.admitted)
        << about;
    EXPECT_EQ(Call(server.target(), grpc::SslCredentials(plain), row.authority)
                  .status.ok(),
              row.admitted)
        << about;
  }
}

TEST_F(ClientDoorTest, WithoutNamesACallsOwnAuthorityCounts) {
  const GrpcServer server(Named({{kDns, "one"}, {kDns, "two"}}));
  const ClientCredentials door = Door({});
  EXPECT_TRUE(Call(server.target(), door.Make(nullptr), "one").status.ok());
  EXPECT_TRUE(
      Call(server.target(), door.Make(nullptr), "one", "two").status.ok());
  EXPECT_EQ(Call(server.target(), door.Make(nullptr), "one", "three")
                .status.error_code(),
            grpc::StatusCode::UNAUTHENTICATED);
}

TEST_F(ClientDoorTest, WithoutNamesAServersSpiffeIdIsNotInTheWay) {
  certs::CertificateOptions leaf = scene_.Svid("spiffe://mesh/cart");
  leaf.names.push_back({kDns, "cart"});
  const GrpcServer server(Issue(leaf));
  bytes_.bundles = {{"", scene_.root.pem()}};
  EXPECT_TRUE(CallBy({}, server.target(), "cart").status.ok());
  EXPECT_FALSE(CallBy({}, server.target(), "admin").status.ok());
  // It is no proof of that ID.
  EXPECT_FALSE(CallBy({"spiffe://mesh/cart"}, server.target()).status.ok());
}

TEST_F(ClientDoorTest, WithoutAnyBundleTheSystemsAuthoritiesCount) {
  certs::CertificateOptions leaf = scene_.Svid(kCart);
  leaf.names.push_back({kDns, "cart"});
  const GrpcServer server(Must(SystemAuthority().Issue(leaf)),
                          scene_.root.pem());
  const GrpcServer stranger(Issue(leaf), scene_.root.pem());
  bytes_.bundles.clear();
  EXPECT_FALSE(CallBy({}, server.target(), "cart").status.ok()) << "no leaf";
  const Issued caller = Issue(scene_.Svid("spiffe://prod/caller"));
  bytes_.chain = caller.chain;
  bytes_.key = caller.key;
  const Answer answer = CallBy({}, server.target(), "cart");
  EXPECT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_EQ(answer.caller, "spiffe://prod/caller");
  EXPECT_FALSE(CallBy({}, server.target(), "admin").status.ok());
  EXPECT_FALSE(CallBy({}, stranger.target(), "cart").status.ok());
  // They vouch for no name of a mesh, and have no lists.
  EXPECT_THAT(CallBy({kCart}, server.target()).status.error_message(),
              HasSubstr("there is no bundle of the trust domain"));
  EXPECT_FALSE(CallBy({"dns:cart"}, server.target()).status.ok());
  EXPECT_FALSE(
      Call(server.target(), Door({}, CrlMode::kRequire).Make(nullptr), "cart")
          .status.ok());
}

// ---- dates, lists, strength -------------------------------------------------

TEST_F(ClientDoorTest, BothClocksRefuseWhatIsNotValidNow) {
  certs::CertificateOptions leaf = scene_.Svid(kCart);
  EXPECT_EQ(Why({kCart}, Issue(leaf)), "ok");
  leaf.not_after = scene_.now - absl::Minutes(1);
  EXPECT_EQ(Why({kCart}, Issue(leaf)), "grpc");
  EXPECT_THAT(last_text_, HasSubstr("certificate verify failed"));
  leaf = scene_.Svid(kCart);
  leaf.not_before = scene_.now + absl::Minutes(10);
  EXPECT_EQ(Why({kCart}, Issue(leaf)), "grpc");
  // mesh has a clock of its own.
  const Issued shown = Cart();
  wall_ = [this] { return scene_.until; };
  EXPECT_EQ(Why({kCart}, shown), "expired");
  wall_ = [this] { return scene_.until - absl::Seconds(1); };
  EXPECT_EQ(Why({kCart}, shown), "ok");
  wall_ = [this] { return scene_.from - absl::Seconds(1); };
  EXPECT_EQ(Why({kCart}, shown), "not_yet_valid");
}

TEST_F(ClientDoorTest, TellsWhenAServersCertificateEnds) {
  certs::CertificateOptions leaf = scene_.Svid(kCart);
  leaf.not_after = absl::FromUnixSeconds(
      absl::ToUnixSeconds(scene_.now + absl::Minutes(10)));
  const GrpcServer server(Issue(leaf));
  const auto told = std::make_shared<std::atomic<int64_t>>(0);
  const auto expires = [told](absl::Time time) {
    *told = absl::ToUnixSeconds(time);
  };
  EXPECT_TRUE(Call(server.target(), Door({kCart}).Make(expires)).status.ok());
  EXPECT_EQ(*told, absl::ToUnixSeconds(leaf.not_after));
  *told = 0;
  EXPECT_FALSE(
      Call(server.target(), Door({"dns:x"}).Make(expires)).status.ok());
  EXPECT_EQ(*told, 0);
}

TEST_F(ClientDoorTest, ARevokedServerIsRefused) {
  const Issued revoked = Cart();
  const Issued good = Cart();
  EXPECT_EQ(Why({kCart}, revoked), "ok") << "no list";
  EXPECT_EQ(Why({kCart}, revoked, CrlMode::kRequire), "no_crl");
  EXPECT_EQ(Why({kCart}, revoked, CrlMode::kIfPresent), "ok");
  EXPECT_EQ(counters_->lacks_crl(), 1);

  bytes_.crls = {scene_.Crl(scene_.root, {revoked.serial})};
  for (const CrlMode mode :
       {CrlMode::kDefault, CrlMode::kRequire, CrlMode::kIfPresent}) {
    EXPECT_EQ(Why({kCart}, good, mode), "ok");
    EXPECT_EQ(counters_->lacks_crl(), 0);
    EXPECT_EQ(Why({kCart}, revoked, mode), "revoked");
  }
  // So it is without names.
  EXPECT_EQ(Why({}, Named({{kIp, kLoopback}})), "ok");
  const Issued host = Named({{kIp, kLoopback}});
  bytes_.crls = {scene_.Crl(scene_.root, {host.serial})};
  EXPECT_EQ(Why({}, host), "revoked");
  // A list of another authority does not help.
  bytes_.crls = {scene_.Crl(scene_.MakeRoot("other-root"))};
  EXPECT_EQ(Why({kCart}, good), "no_crl");
  // An intermediate is looked for, too.
  const certs::Authority below = scene_.MakeBelow(scene_.root, "below");
  const Issued deep = Must(below.Issue(scene_.Svid(kCart)));
  bytes_.crls = {scene_.Crl(scene_.root), scene_.Crl(below)};
  EXPECT_EQ(Why({kCart}, deep), "ok");
  bytes_.crls = {
      scene_.Crl(scene_.root, {Must(certs::SerialOfPem(below.pem()))}),
      scene_.Crl(below)};
  EXPECT_EQ(Why({kCart}, deep), "revoked");
}

TEST_F(ClientDoorTest, WhatGrpcsServerWouldNotShowIsRefused) {
  const auto connects = [this](const Issued& shown) {
    const RawServer server(shown);
    return Connects(server.target(), Door({kCart}).Make(nullptr));
  };
  const auto with =
      [this](const std::function<void(certs::CertificateOptions*)>& change) {
        certs::CertificateOptions leaf = scene_.Svid(kCart);
        change(&leaf);
        return leaf;
      };
  EXPECT_TRUE(connects(Cart()));
  EXPECT_FALSE(
      connects(Must(scene_.MakeRoot("other").Issue(scene_.Svid(kCart)))));
  EXPECT_FALSE(connects(
      Issue(with([](auto* leaf) { leaf->digest = certs::Digest::kSha1; }))));
  EXPECT_FALSE(connects(
      Issue(with([](auto* leaf) { leaf->purposes = {"clientAuth"}; }))));
  EXPECT_FALSE(
      connects(Issue(with([](auto* leaf) { leaf->authority = true; }))));
  EXPECT_FALSE(connects(Must(
      scene_.root.Issue(scene_.Svid(kCart),
                        Must(certs::Key::Make(certs::KeyType::kRsa, 1024))))));
  EXPECT_TRUE(connects(Must(
      scene_.root.Issue(scene_.Svid(kCart),
                        Must(certs::Key::Make(certs::KeyType::kRsa, 2048))))));
  EXPECT_FALSE(connects(Must(
      scene_.root.Issue(scene_.Svid(kCart), testing::ExplicitCurveKey()))));
  // A chain of 9 and of 40, each with the root behind the leaf again and again.
  Issued shown = Cart();
  for (int i = 1; i < 40; ++i) {
    shown.chain += scene_.root.pem();
    if (i == 7) {
      EXPECT_TRUE(connects(shown)) << "8 certificates";
    } else if (i == 8 || i == 39) {
      EXPECT_FALSE(connects(shown)) << i;
    }
  }
}

// ---- TLS --------------------------------------------------------------------

TEST_F(ClientDoorTest, SpeaksTls12And13WithHttp2) {
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    const RawServer server(Cart(), {version, version});
    EXPECT_TRUE(Connects(server.target(), Door({kCart}).Make(nullptr)));
    ASSERT_EQ(server.handshakes().size(), 1);
    EXPECT_EQ(server.handshakes()[0].version, version);
  }
  const RawServer old(Cart(), {TLS1_VERSION, TLS1_1_VERSION});
  EXPECT_FALSE(Connects(old.target(), Door({kCart}).Make(nullptr)));
  RawServer::Options options;
  options.alpn = false;
  const RawServer without(Cart(), options);
  EXPECT_FALSE(Connects(without.target(), Door({kCart}).Make(nullptr)));
}

TEST_F(ClientDoorTest, ResumesNoSession) {
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    const RawServer server(Cart(), {version, version});
    const ClientCredentials door = Door({kCart});
    const auto credentials = door.Make(nullptr);
    for (int i = 0; i < 3; ++i) {
      EXPECT_TRUE(Connects(server.target(), credentials));
      EXPECT_TRUE(Connects(server.target(), door.Make(nullptr)));
    }
    EXPECT_EQ(server.handshakes().size(), 6);
    for (const RawServer::Handshake& handshake : server.handshakes()) {
      EXPECT_FALSE(handshake.resumed);
    }
    // The server would: another client does it.
    EXPECT_TRUE(testing::ResumesRaw(server.port()));
    EXPECT_TRUE(server.handshakes().back().resumed);
  }
}

TEST_F(ClientDoorTest, ShowsItsChain) {
  const GrpcServer server(Cart(), scene_.root.pem());
  EXPECT_FALSE(CallBy({kCart}, server.target()).status.ok()) << "no leaf";
  const certs::Authority below = scene_.MakeBelow(scene_.root, "below");
  const Issued caller = Must(below.Issue(scene_.Svid("spiffe://prod/caller")));
  bytes_.chain = caller.chain;
  bytes_.key = caller.key;
  const Answer answer = CallBy({kCart}, server.target());
  EXPECT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_EQ(answer.caller, "spiffe://prod/caller");
  // One file may have both.
  bytes_.chain = absl::StrCat(caller.key, caller.chain);
  bytes_.key = bytes_.chain;
  EXPECT_EQ(CallBy({kCart}, server.target()).caller, "spiffe://prod/caller");
}

// ---- while identities are published -----------------------------------------

// Says that it has been called, and does not return before it may.
class StuckListener final : public IdentityListener {
 public:
  void OnIdentity(IdentityPtr) override {
    base::MutexLock lock(&mu_);
    called_ = true;
    changed_.SignalAll();
    while (!may_return_) changed_.Wait(&mu_);
  }
  void OnNotice(const IdentityNotice&) override {}

  void WaitUntilCalled() {
    base::MutexLock lock(&mu_);
    while (!called_) changed_.Wait(&mu_);
  }
  void Release() {
    base::MutexLock lock(&mu_);
    may_return_ = true;
    changed_.SignalAll();
  }

 private:
  base::Mutex mu_;
  base::CondVar changed_;
  bool called_ ABSL_GUARDED_BY(mu_) = false;
  bool may_return_ ABSL_GUARDED_BY(mu_) = false;
};

TEST_F(ClientDoorTest, AHandshakeDoesNotWaitForAPublishThatIsStuck) {
  const GrpcServer server(Cart());
  const ClientCredentials door = Door({kCart});
  IdentitySource::Static source;
  const auto stuck = std::make_shared<StuckListener>();
  source.Subscribe(stuck);
  std::thread publisher(
      [&] { source.Set(Must(Identity::Make(bytes_, scene_.now))); });
  stuck->WaitUntilCalled();
  EXPECT_TRUE(Call(server.target(), door.Make(nullptr)).status.ok());
  stuck->Release();
  publisher.join();
}

// Makes the doors that a service would, as identities come.
class Doors final : public IdentityListener {
 public:
  explicit Doors(std::shared_ptr<ClientCounters> counters)
      : counters_(std::move(counters)) {}
  void OnIdentity(IdentityPtr identity) override {
    auto door = std::make_shared<const ClientCredentials>(
        std::move(identity), ClientCredentials::Peer{Patterns({kCart}), {}},
        &base::WallTime, counters_);
    base::MutexLock lock(&mu_);
    door_.swap(door);
  }
  void OnNotice(const IdentityNotice&) override {}

  std::shared_ptr<const ClientCredentials> Last() const {
    base::MutexLock lock(&mu_);
    return door_;
  }

 private:
  const std::shared_ptr<ClientCounters> counters_;
  mutable base::Mutex mu_;
  std::shared_ptr<const ClientCredentials> door_ ABSL_GUARDED_BY(mu_);
};

TEST_F(ClientDoorTest, ManyConnectWhileIdentitiesArePublished) {
  constexpr int kThreads = 10;
  constexpr int kEach = 10;
  const GrpcServer server(Cart(), scene_.root.pem());
  const auto doors = std::make_shared<Doors>(counters_);
  IdentitySource::Static source;
  source.Subscribe(doors);
  const auto publish = [&] {
    const Issued caller = Issue(scene_.Svid("spiffe://prod/caller"));
    bytes_.chain = caller.chain;
    bytes_.key = caller.key;
    source.Set(Must(Identity::Make(bytes_, scene_.now)));
  };
  publish();
  std::atomic<int> good{0};
  std::atomic<int> told{0};
  std::atomic<int> running{kThreads};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < kEach; ++j) {
        // The door may be gone before its connection is made.
        const auto credentials =
            doors->Last()->Make([&told](absl::Time) { ++told; });
        const Answer answer = Call(server.target(), credentials);
        if (answer.caller == "spiffe://prod/caller") ++good;
      }
      --running;
    });
  }
  int published = 0;
  while (running > 0) {
    publish();
    ++published;
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, kThreads * kEach);
  EXPECT_EQ(told, kThreads * kEach);
  EXPECT_EQ(counters_->count(PeerRefusal::kNone), kThreads * kEach);
  EXPECT_GT(published, 1);
}

}  // namespace
}  // namespace mesh::security
