// Attacks on a client's door by servers: the same certificates, and what a
// server may do in a handshake that gRPC's would not.

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "mesh/base/clock.h"
#include "mesh/security/client_credentials.h"
#include "mesh/security/peer_pattern.h"
#include "tests/attacks/key_bytes.h"
#include "tests/attacks/peer_rows.h"
#include "tests/attacks/raw_http2.h"
#include "tests/attacks/raw_tls.h"
#include "tests/attacks/site.h"

namespace mesh::test {
namespace {

using security::PeerSide;
using security::testing::Must;

// Credentials of mesh's client door.
std::shared_ptr<grpc::ChannelCredentials> DoorOf(
    security::IdentityPtr identity, const std::vector<std::string>& wanted) {
  security::ClientCredentials::Peer peer;
  peer.allowed = Must(security::ParsePeerPatterns(wanted));
  return security::ClientCredentials(
             std::move(identity), std::move(peer), &base::WallTime,
             std::make_shared<security::ClientCounters>())
      .Make(nullptr);
}

grpc::Status Call(const std::string& address,
                  const std::vector<std::string>& wanted,
                  const std::vector<std::string>& crls = {},
                  absl::Duration timeout = absl::Seconds(20)) {
  const Cast& cast = TheCast();
  const auto stub =
      NewStub(address, DoorOf(cast.IdentityOf(cast.client, crls), wanted));
  const grpc::Status status = Ask(stub.get(), timeout).status;
  Outputs::OfProcess().Add(status.error_message());
  return status;
}

testing::AssertionResult Refuses(const grpc::Status& status) {
  const bool refused = status.error_code() == grpc::StatusCode::UNAVAILABLE ||
                       status.error_code() == grpc::StatusCode::UNAUTHENTICATED;
  return (refused ? testing::AssertionSuccess() : testing::AssertionFailure())
         << "status " << status.error_code() << ": " << status.error_message();
}

// ---- Certificates ----

class CertificateTest : public testing::TestWithParam<PeerRow> {
 protected:
  // The status of a call to the trial's peer, and whether it came there.
  grpc::Status Try(const MakeTrial& make, int* calls) {
    const Trial trial = make(TheCast(), PeerSide::kServer);
    TlsSettings settings;
    settings.shown = trial.shown;
    const TlsServer server(settings);
    grpc::Status status = Call(server.address(), GetParam().wanted, trial.crls);
    EXPECT_GT(server.connections(), 0);
    *calls = server.calls();
    return status;
  }
};

TEST_P(CertificateTest, IsRefusedAndItsNearestIsAdmitted) {
  int calls = 0;
  EXPECT_TRUE(Refuses(Try(GetParam().bad, &calls)));
  EXPECT_EQ(calls, 0);
  const grpc::Status status = Try(GetParam().good, &calls);
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(calls, 1);
  Site site;
  EXPECT_TRUE(Call(site.door().target(), {kServer}).ok());
}

INSTANTIATE_TEST_SUITE_P(Handshake, CertificateTest,
                         testing::ValuesIn(HandshakeRows()), NameOfRow);
INSTANTIATE_TEST_SUITE_P(Names, CertificateTest, testing::ValuesIn(NameRows()),
                         NameOfRow);
INSTANTIATE_TEST_SUITE_P(Revocation, CertificateTest,
                         testing::ValuesIn(RevocationRows()), NameOfRow);

// ---- The name of the authority, where no peer is wanted ----

TEST(AuthorityTest, OnlyADnsNameOfTheCertificateCounts) {
  const Cast& cast = TheCast();
  using certs::AltName;
  const auto status = [&](std::vector<AltName> names, const std::string& cn) {
    certs::CertificateOptions leaf =
        certs::ServerOptions({}, cast.scene.from, cast.scene.until);
    leaf.names = std::move(names);
    leaf.common_name = cn;
    TlsSettings settings;
    settings.shown = ShownOf(cast.root, leaf);
    const TlsServer server(settings);
    grpc::Status status = Call(server.address(), {});
    EXPECT_EQ(server.calls(), status.ok() ? 1 : 0);
    return status;
  };
  const auto dns = [](std::string name) {
    return AltName{AltName::Type::kDns, std::move(name)};
  };
  EXPECT_TRUE(status({dns("localhost")}, "").ok());
  EXPECT_TRUE(Refuses(status({dns("other")}, "")));
  EXPECT_TRUE(Refuses(status({dns("other")}, "localhost")));
  EXPECT_TRUE(Refuses(status({dns(std::string("localhost\0.evil", 15))}, "")));
  EXPECT_TRUE(Refuses(status({{AltName::Type::kUri, "localhost"}}, "")));
  EXPECT_TRUE(Refuses(status({{AltName::Type::kEmail, "localhost"}}, "")));
}

// ---- Handshakes ----

struct ServerRow {
  std::string name;
  TlsSettings bad;
  TlsSettings good;  // But the certificate, which is a good one.
};
void PrintTo(const ServerRow& row, std::ostream* out) { *out << row.name; }

TlsSettings Settings(int least, int most, const std::string& ciphers = "",
                     const std::string& alpn = "h2") {
  TlsSettings settings;
  settings.least_version = least;
  settings.most_version = most;
  settings.ciphers = ciphers;
  settings.alpn = alpn;
  return settings;
}

// A table.
std::vector<ServerRow> ServerRows() {
  const auto ciphers = [](const std::string& ciphers) {
    return Settings(TLS1_2_VERSION, TLS1_2_VERSION, ciphers);
  };
  const TlsSettings good;
  return {
      {"Tls10", Settings(TLS1_VERSION, TLS1_VERSION), good},
      {"Tls11", Settings(TLS1_1_VERSION, TLS1_1_VERSION),
       Settings(TLS1_2_VERSION, TLS1_2_VERSION)},
      {"NoAlpn", Settings(TLS1_2_VERSION, TLS1_3_VERSION, "", ""), good},
      {"NoCertificate", ciphers("ADH-AES128-SHA256:@SECLEVEL=0"),
       ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")},
      {"WeakCipher", ciphers("ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"),
       ciphers("ECDHE-ECDSA-AES256-GCM-SHA384")},
  };
}

class HandshakeTest : public testing::TestWithParam<ServerRow> {};

TEST_P(HandshakeTest, IsRefusedAndItsNearestIsAdmitted) {
  TlsSettings bad = GetParam().bad;
  if (GetParam().name != "NoCertificate") bad.shown = TheCast().server;
  const TlsServer attacker(bad);
  EXPECT_TRUE(Refuses(Call(attacker.address(), {kServer})));
  EXPECT_EQ(attacker.calls(), 0);
  TlsSettings good = GetParam().good;
  good.shown = TheCast().server;
  const TlsServer server(good);
  EXPECT_TRUE(Call(server.address(), {kServer}).ok());
  EXPECT_EQ(server.calls(), 1);
}

INSTANTIATE_TEST_SUITE_P(Settings, HandshakeTest,
                         testing::ValuesIn(ServerRows()),
                         [](const auto& info) { return info.param.name; });

TEST(RenegotiationTest, OfTheServerIsNotDone) {
  TlsSettings settings = Settings(TLS1_2_VERSION, TLS1_2_VERSION);
  settings.shown = TheCast().server;
  static std::atomic<int> done{0};
  std::atomic<int> asked{0};
  const TlsServer attacker(settings, [&asked](TlsConnection& connection) {
    SSL* const ssl = connection.ssl();
    // Sends a HelloRequest. What the client says to it is read with HTTP/2.
    if (SSL_renegotiate(ssl) == 1 && SSL_do_handshake(ssl) == 1) ++asked;
    SSL_set_info_callback(ssl, [](const SSL*, int event, int) {
      if ((event & SSL_CB_HANDSHAKE_DONE) != 0) ++done;
    });
    return true;
  });
  // The connection may end, or the call may be served under the old keys.
  Call(attacker.address(), {kServer}, {}, absl::Seconds(2));
  EXPECT_GT(asked, 0);
  EXPECT_EQ(done, 0);
  const TlsServer server(settings);
  EXPECT_TRUE(Call(server.address(), {kServer}).ok());
}

TEST(TicketTest, AClientNeverResumes) {
  const Cast& cast = TheCast();
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    TlsSettings settings = Settings(version, version);
    settings.shown = cast.server;
    const TlsServer server(settings);
    security::ClientCredentials::Peer peer;
    peer.allowed = Must(security::ParsePeerPatterns({kServer}));
    const security::ClientCredentials door(
        cast.IdentityOf(cast.client), peer, &base::WallTime,
        std::make_shared<security::ClientCounters>());
    for (int i = 0; i < 3; ++i) {
      const auto stub = NewStub(server.address(), door.Make(nullptr));
      EXPECT_TRUE(Ask(stub.get()).status.ok());
    }
    EXPECT_EQ(server.handshakes(), 3);
    EXPECT_EQ(server.resumed(), 0);
    // Another client would.
    for (const int resumed : {0, 1}) {
      TlsLink link(server.port(), settings);
      EXPECT_TRUE(link.Handshake());
      EXPECT_TRUE(IsServed(RawHttp2(&link).Call(kUnaryPath)));
      EXPECT_EQ(server.resumed(), resumed);
      settings.ticket = link.ticket();
    }
  }
}

TEST(BytesTest, GarbageForAHelloEndsTheConnectionOnly) {
  for (const std::string& bytes :
       {std::string("HTTP/1.1 400 Bad Request\r\n\r\n"),
        Frame(kSettings, 0, 0, ""), "\x16" + std::string(200, '\xee'),
        "\x16" + std::string("\x03\x03\xff\xff", 4) + std::string(70000, 'x'),
        "\x16" + std::string("\x03\x03\0\x04\2\xff\xff\xff", 8),
        std::string("\x15\x03\x03\0\2\1\0", 7), std::string()}) {
    const Peer attacker([&bytes](Connection& connection) {
      connection.Send(bytes);
      if (!bytes.empty()) connection.Ignore();
    });
    EXPECT_TRUE(Refuses(Call(attacker.address(), {kServer})));
  }
  Site site;
  EXPECT_TRUE(Call(site.door().target(), {kServer}).ok());
}

TEST(MutualTest, AServerThatRefusesTheClientIsToldOfInTheCall) {
  const Cast& cast = TheCast();
  Site site(Allow(From({kCart})));
  EXPECT_TRUE(Call(site.door().target(), {kServer}).ok());
  const Shown impostor = ShownOf(cast.other, cast.Options(kCart));
  const auto stub = NewStub(site.door().target(),
                            DoorOf(cast.IdentityOf(impostor), {kServer}));
  EXPECT_EQ(Ask(stub.get()).status.error_code(),
            grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(site.handled(), 1);
}

}  // namespace
}  // namespace mesh::test
