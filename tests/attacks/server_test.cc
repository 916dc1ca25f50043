// Attacks on a server's port by clients: certificates, handshakes, tickets,
// bytes.

#include <sys/socket.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "mesh/security/identity.h"
#include "tests/attacks/key_bytes.h"
#include "tests/attacks/peer_rows.h"
#include "tests/attacks/renegotiation.h"
#include "tests/attacks/site.h"

namespace mesh::test {
namespace {

using security::PeerSide;

// ---- Certificates ----

class CertificateTest : public testing::TestWithParam<PeerRow> {
 protected:
  // What becomes of a call of the trial's peer.
  RawEnd Try(const MakeTrial& make) {
    const Trial trial = make(cast_, PeerSide::kClient);
    site_.Use(cast_.IdentityOf(cast_.server, trial.crls));
    TlsSettings settings;
    settings.shown = trial.shown;
    TlsLink link(site_.port(), std::move(settings));
    // With TLS 1.3 the client is done before the server judges it.
    EXPECT_TRUE(link.Handshake()) << "the client did not show its certificate";
    const RawEnd end = RawHttp2(&link).Call(kUnaryPath);
    Outputs::OfProcess().Add(end.message);
    return end;
  }

  const Cast& cast_ = TheCast();
  Site site_{Allow(From(GetParam().wanted))};
};

TEST_P(CertificateTest, IsRefusedAndItsNearestIsServed) {
  EXPECT_TRUE(IsRefused(Try(GetParam().bad)));
  EXPECT_EQ(site_.handled(), 0);
  EXPECT_TRUE(IsServed(Try(GetParam().good)));
  EXPECT_EQ(site_.handled(), 1);
  EXPECT_TRUE(IsRefused(Try(GetParam().bad))) << "after a good one";
  EXPECT_EQ(site_.handled(), 1);
  site_.SetRules({});
  site_.Use(cast_.IdentityOf(cast_.server));
  EXPECT_TRUE(site_.ServesOn());
}

INSTANTIATE_TEST_SUITE_P(Handshake, CertificateTest,
                         testing::ValuesIn(HandshakeRows()), NameOfRow);
INSTANTIATE_TEST_SUITE_P(Names, CertificateTest, testing::ValuesIn(NameRows()),
                         NameOfRow);
INSTANTIATE_TEST_SUITE_P(Revocation, CertificateTest,
                         testing::ValuesIn(RevocationRows()), NameOfRow);

TEST(PartialListTest, AnIdentityWithOneIsRefusedAndTheLastOneStays) {
  using security::testing::Der;
  const Cast& cast = TheCast();
  Site site;
  const std::string x400 = Der(security::testing::kX400Address,
                               Der(security::testing::kSequence, ""));
  const std::string edi =
      Der(security::testing::kEdiPartyName,
          Der(0xa1, Der(security::testing::kUtf8String, "party")));
  for (const std::string& name : {x400, edi}) {
    certs::CrlOptions options;
    options.this_update = cast.scene.from;
    options.next_update = cast.scene.until;
    security::IdentityBytes bytes = cast.BytesOf(cast.server);
    bytes.crls = {security::testing::Must(cast.root.MakeCrl(options))};
    EXPECT_TRUE(security::Identity::Make(bytes, absl::Now()).ok());
    options.extensions = {security::testing::IssuingDistributionPoint(name)};
    bytes.crls = {security::testing::Must(cast.root.MakeCrl(options))};
    const auto made = security::Identity::Make(bytes, absl::Now());
    EXPECT_EQ(made.status().code(), absl::StatusCode::kInvalidArgument);
    Outputs::OfProcess().Add(made.status().message());
    EXPECT_TRUE(site.ServesOn());
  }
}

// ---- Handshakes ----

struct HandshakeRow {
  std::string name;
  TlsSettings bad;
  TlsSettings good;  // But the certificate, which is a good one.
};
void PrintTo(const HandshakeRow& row, std::ostream* out) { *out << row.name; }

TlsSettings Versions(int least, int most) {
  TlsSettings settings;
  settings.least_version = least;
  settings.most_version = most;
  return settings;
}
TlsSettings Alpn(const std::string& alpn) {
  TlsSettings settings;
  settings.alpn = alpn;
  return settings;
}
TlsSettings Ciphers(const std::string& ciphers) {
  TlsSettings settings = Versions(TLS1_2_VERSION, TLS1_2_VERSION);
  settings.ciphers = ciphers;
  return settings;
}

// A table.
std::vector<HandshakeRow> HandshakeSettings() {
  return {
      {"Tls10", Versions(TLS1_VERSION, TLS1_VERSION), {}},
      {"Tls11", Versions(TLS1_1_VERSION, TLS1_1_VERSION),
       Versions(TLS1_2_VERSION, TLS1_2_VERSION)},
      {"NoAlpn", Alpn(""), Alpn("h2")},
      {"OtherAlpn", Alpn("http/1.1"), Alpn("h2")},
      {"AlpnInUpperCase", Alpn("H2"), Alpn("h2")},
      {"NoKeyExchange", Ciphers("AES128-GCM-SHA256"),
       Ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")},
      {"WeakCipher", Ciphers("ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"),
       Ciphers("ECDHE-ECDSA-AES256-GCM-SHA384")},
      {"Anonymous", Ciphers("ADH-AES128-SHA256:@SECLEVEL=0"),
       Ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")},
  };
}

class HandshakeTest : public testing::TestWithParam<HandshakeRow> {};

TEST_P(HandshakeTest, IsRefusedAndItsNearestIsServed) {
  Site site;
  TlsSettings bad = GetParam().bad;
  bad.shown = TheCast().client;
  EXPECT_TRUE(IsRefused(site.CallWith(std::move(bad))));
  EXPECT_EQ(site.handled(), 0);
  TlsSettings good = GetParam().good;
  good.shown = TheCast().client;
  EXPECT_TRUE(IsServed(site.CallWith(std::move(good))));
  EXPECT_TRUE(site.ServesOn());
}

INSTANTIATE_TEST_SUITE_P(Settings, HandshakeTest,
                         testing::ValuesIn(HandshakeSettings()),
                         [](const auto& info) { return info.param.name; });

TEST(HelloTest, WithoutACertificateNobodyIsServed) {
  Site site;
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    TlsSettings none = Versions(version, version);
    TlsSettings good = none;
    good.shown = TheCast().client;
    EXPECT_TRUE(IsRefused(site.CallWith(none)));
    EXPECT_EQ(site.handled(), version == TLS1_2_VERSION ? 0 : 1);
    EXPECT_TRUE(IsServed(site.CallWith(good)));
  }
  EXPECT_TRUE(site.ServesOn());
}

TEST(HelloTest, MayComeByteByByteAndMayBeLong) {
  Site site;
  for (const size_t padding : {size_t{0}, size_t{16} << 10}) {
    for (const size_t piece : {size_t{1}, size_t{1000}, size_t{0}}) {
      if (padding > 0 && piece == 1) continue;  // It takes long.
      TlsSettings settings;
      settings.shown = TheCast().client;
      settings.padding = padding;
      TlsLink link(site.port(), std::move(settings));
      EXPECT_GT(link.hello().size(), padding);
      EXPECT_TRUE(link.Handshake(piece))
          << padding << " in pieces of " << piece;
      EXPECT_TRUE(IsServed(RawHttp2(&link).Call(kUnaryPath)));
    }
  }
  EXPECT_TRUE(site.ServesOn());
}

TEST(HelloTest, OneThatIsCutOrChangedEndsItsConnectionOnly) {
  Site site;
  TlsSettings settings;
  settings.shown = TheCast().client;
  settings.padding = 16 << 10;
  const std::string long_hello = TlsLink(site.port(), settings).hello();
  settings.padding = 40 << 10;
  const std::string longer_hello = TlsLink(site.port(), settings).hello();
  settings.padding = 0;
  const std::string hello = TlsLink(site.port(), settings).hello();
  std::vector<std::string> hellos = {
      hello.substr(0, 1),
      hello.substr(0, 5),
      hello.substr(0, 9),
      hello.substr(0, hello.size() / 2),
      hello.substr(0, hello.size() - 1),
      long_hello.substr(0, long_hello.size() - 1),
      longer_hello.substr(0, longer_hello.size() - 1),
      "P" + hello,
      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + hello,
      "\x16" + std::string(16 << 10, '\xee'),
      "\x16" + std::string("\x03\x01\xff\xff", 4) + std::string(1000, 'x'),
      "\x16" + std::string("\x03\x01\0\0", 4),
      "\x16PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
      hello + hello,
      hello + "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
  };
  // Each byte of the headers of record and message, and some of the rest.
  for (size_t i = 1; i < hello.size(); i += i < 12 ? 1 : 37) {
    hellos.push_back(hello);
    hellos.back()[i] ^= '\xff';
  }
  for (size_t i = 0; i < hellos.size(); ++i) {
    const RawSocket socket(site.port());
    ASSERT_TRUE(socket.Send(hellos[i])) << i;
    shutdown(socket.fd(), SHUT_WR);
    EXPECT_TRUE(socket.Closes(absl::Seconds(10))) << i;
  }
  EXPECT_EQ(site.handled(), 0);
  EXPECT_TRUE(site.ServesOn());
}

// ---- Renegotiation ----

// The last word of the server's last handshake.
std::string PeerFinished(SSL* ssl) {
  char bytes[64];
  return std::string(bytes, SSL_get_peer_finished(ssl, bytes, sizeof(bytes)));
}

TEST(RenegotiationTest, OfTheClientIsNotDone) {
  Site site;
  TlsSettings settings = Ciphers("ECDHE-ECDSA-AES128-GCM-SHA256");
  settings.shown = TheCast().client;
  TlsLink link(site.port(), settings);
  ASSERT_TRUE(link.Handshake());
  const std::string before = PeerFinished(link.ssl());
  ASSERT_EQ(SSL_renegotiate(link.ssl()), 1);
  SSL_do_handshake(link.ssl());
  while (!link.Receive().empty()) {
  }
  EXPECT_EQ(PeerFinished(link.ssl()), before);
  EXPECT_EQ(site.handled(), 0);
  EXPECT_TRUE(IsServed(site.CallWith(settings))) << "without it";
  EXPECT_TRUE(site.ServesOn());
}

TEST(RenegotiationTest, ThatDropsSignatureAlgorithmsCrashesNothing) {
  Site site;
  TlsSettings settings = Ciphers("ECDHE-ECDSA-AES128-GCM-SHA256");
  settings.shown = TheCast().client;
  for (const bool drop : {false, true}) {
    TlsLink link(site.port(), settings);
    ASSERT_TRUE(link.Handshake());
    ASSERT_TRUE(link.socket().Send(RenegotiationHello(link.ssl(), drop)));
    shutdown(link.socket().fd(), SHUT_WR);
    EXPECT_TRUE(link.socket().Closes(absl::Seconds(10)));
    EXPECT_TRUE(site.ServesOn());
  }
  EXPECT_EQ(site.handled(), 2) << "the good calls";
}

// ---- Tickets ----

class TicketTest : public testing::TestWithParam<int> {
 protected:
  TlsSettings With(const Shown& shown, TicketPtr ticket) const {
    TlsSettings settings = Versions(GetParam(), GetParam());
    settings.shown = shown;
    settings.ticket = std::move(ticket);
    return settings;
  }
  // A ticket of `site` for the good client, whose call was served.
  TicketPtr TicketOf(Site* site) const {
    TlsLink link(site->port(), With(cast_.client, nullptr));
    EXPECT_TRUE(link.Handshake());
    EXPECT_TRUE(IsServed(RawHttp2(&link).Call(kUnaryPath)));
    EXPECT_NE(link.ticket(), nullptr);
    return link.ticket();
  }
  // What becomes of a call of one that has `ticket`.
  RawEnd CallWith(Site* site, const Shown& shown, const TicketPtr& ticket,
                  bool* resumed) const {
    TlsLink link(site->port(), With(shown, ticket));
    const bool done = link.Handshake();
    *resumed = link.resumed();
    return done ? RawHttp2(&link).Call(kUnaryPath) : RawEnd();
  }

  const Cast& cast_ = TheCast();
  bool resumed_ = false;
};

INSTANTIATE_TEST_SUITE_P(Versions, TicketTest,
                         testing::Values(TLS1_2_VERSION, TLS1_3_VERSION),
                         [](const auto& info) {
                           return info.param == TLS1_2_VERSION ? "Tls12"
                                                               : "Tls13";
                         });

TEST_P(TicketTest, WorksWithinAGenerationAndNoLonger) {
  Site site;
  EXPECT_TRUE(
      IsServed(CallWith(&site, cast_.client, TicketOf(&site), &resumed_)));
  EXPECT_TRUE(resumed_);
  const TicketPtr old = TicketOf(&site);
  site.Use(cast_.IdentityOf(cast_.server));
  EXPECT_TRUE(IsServed(CallWith(&site, cast_.client, old, &resumed_)));
  EXPECT_FALSE(resumed_);
  EXPECT_TRUE(IsRefused(CallWith(&site, {}, old, &resumed_)))
      << "without a certificate";
  EXPECT_FALSE(resumed_);
  EXPECT_TRUE(site.ServesOn());
}

TEST_P(TicketTest, IsWorthNothingAfterAWithdrawal) {
  Site site;
  const TicketPtr old = TicketOf(&site);
  security::IdentityBytes bytes = cast_.BytesOf(cast_.server);
  bytes.bundles = {{"prod", cast_.other.pem()}, {"other", cast_.other.pem()}};
  site.Use(security::testing::Must(
               security::Identity::Make(std::move(bytes), absl::Now())),
           /*withdrawn=*/true);
  const int handled = site.handled();
  for (const Shown& shown : {cast_.client, Shown()}) {
    EXPECT_TRUE(IsRefused(CallWith(&site, shown, old, &resumed_)));
    EXPECT_FALSE(resumed_);
  }
  EXPECT_EQ(site.handled(), handled);
  site.Use(cast_.IdentityOf(cast_.server));
  EXPECT_TRUE(site.ServesOn());
}

TEST_P(TicketTest, IsWorthNothingAfterARevocation) {
  Site site;
  const auto with_list = [&](std::vector<std::string> revoked) {
    return cast_.IdentityOf(cast_.server,
                            {cast_.scene.Crl(cast_.root, std::move(revoked))});
  };
  site.Use(with_list({}));
  const TicketPtr old = TicketOf(&site);
  const security::IdentityPtr revoked = with_list(
      {security::testing::Must(certs::SerialOfPem(cast_.client.chain))});
  const int handled = site.handled();
  // Even where a server would keep the keys of its tickets.
  site.door().door().SetTrust(VerifyBy(revoked), /*withdrawn=*/true);
  EXPECT_TRUE(IsRefused(CallWith(&site, cast_.client, old, &resumed_)));
  EXPECT_TRUE(resumed_);
  site.Use(revoked, /*withdrawn=*/true);
  for (const Shown& shown : {cast_.client, Shown()}) {
    EXPECT_TRUE(IsRefused(CallWith(&site, shown, old, &resumed_)));
    EXPECT_FALSE(resumed_);
  }
  EXPECT_EQ(site.handled(), handled);
  site.Use(with_list({}));
  EXPECT_TRUE(site.ServesOn());
}

TEST_P(TicketTest, IsWorthNothingToAnotherServer) {
  Site one;
  Site two;  // With the same certificate.
  const TicketPtr ticket = TicketOf(&one);
  EXPECT_TRUE(IsRefused(CallWith(&two, {}, ticket, &resumed_)));
  EXPECT_FALSE(resumed_);
  EXPECT_EQ(two.handled(), 0);
  EXPECT_TRUE(IsServed(CallWith(&two, cast_.client, ticket, &resumed_)));
  EXPECT_FALSE(resumed_);
  EXPECT_TRUE(one.ServesOn());
  EXPECT_TRUE(two.ServesOn());
}

}  // namespace
}  // namespace mesh::test
