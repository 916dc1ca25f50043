// What the configuration says of identity, peers and rules.

#include <stdlib.h>
#include <sys/stat.h>

#include <fstream>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "google/protobuf/descriptor.h"
#include "gtest/gtest.h"
#include "mesh/config/loader.h"
#include "mesh/config/loader_test_util.h"
#include "mesh/config/printer.h"
#include "mesh/v1/annotations.pb.h"
#include "mesh/v1/config.pb.h"

namespace mesh::config {
namespace {

using options::CrlMode;
using options::HeaderMatch;
using options::ServerMode;
using options::TlsOptions;
using testing::ElementsAre;
using testing::IsEmpty;

options::MeshOptions Load(const std::string& text) {
  const auto options = LoadText(text, "/etc/mesh.yaml");
  EXPECT_TRUE(options.ok()) << options.status();
  return options.ok() ? *options : options::MeshOptions();
}

// ---- What is read ----

TEST(SecurityConfigTest, NothingIsNoIdentityAndAPlaintextServer) {
  const options::MeshOptions options = Load("services: {}");
  EXPECT_FALSE(options.identity.has_value());
  options::ServerOptions server;
  server.mode = ServerMode::kPlaintext;
  EXPECT_EQ(options.server, server);
  EXPECT_EQ(options.telemetry.max_peers, 200);
  EXPECT_THAT(options.warnings, IsEmpty());
}

TEST(SecurityConfigTest, TheCommonCaseOfTheGuideIsRead) {
  const options::MeshOptions options = Load(R"(
identity: {spiffe: "unix:///run/spire/agent.sock"}
server:
  mode: permissive
  allow: [{from: ["spiffe://prod/shop"], methods: ["shop.Cart/*"]}]
services:
  cart: {endpoints: ["10.0.0.7:8443"], tls: {peer: "spiffe://prod/cart"}}
)");
  options::IdentityOptions identity;
  identity.source =
      options::SpiffeSource{"unix:///run/spire/agent.sock", {}, {}};
  EXPECT_EQ(options.identity, identity);
  EXPECT_EQ(identity.start_timeout, absl::Seconds(10));
  options::ServerOptions server;
  server.mode = ServerMode::kPermissive;
  server.allow = {{{"spiffe://prod/shop"}, {"shop.Cart/*"}, {}}};
  EXPECT_EQ(options.server, server);
  TlsOptions tls;
  tls.peer = {"spiffe://prod/cart"};
  EXPECT_EQ(options.services.at("cart")->tls, tls);
}

TEST(SecurityConfigTest, EveryFieldIsRead) {
  const options::MeshOptions options = Load(R"(
identity:
  files:
    cert: tls.crt
    key: secret/tls.key
    ca: /ca.crt
    crl: [a.crl, b.crl]
    bundles: {partner: partner.pem}
  start_timeout: 3s
  spread: 5s
  peer: "spiffe://prod/{service}"
server:
  rules: observe
  crl: if_present
  deny:
    - from: [spiffe://partner/*, "dns:a.prod"]
      headers:
        x-role: {exact: guest}
        x-tenant: {prefix: "eu-"}
        x-debug: {present: true}
        x-trace: {absent: true}
services:
  cart: {endpoints: []}
  pay: {endpoints: [], tls: {mode: plaintext}}
  mail: {endpoints: [], tls: {peer: ["dns:mail.prod", spiffe://partner/mail], crl: require}}
telemetry: {max_peers: 7}
)");
  options::IdentityFiles files;
  files.cert = "/etc/tls.crt";
  files.key = "/etc/secret/tls.key";
  files.ca = "/ca.crt";
  files.crl = {"/etc/a.crl", "/etc/b.crl"};
  files.bundles = {{"partner", "/etc/partner.pem"}};
  options::IdentityOptions identity;
  identity.source = files;
  identity.start_timeout = absl::Seconds(3);
  identity.spread = absl::Seconds(5);
  identity.peer = "spiffe://prod/{service}";
  EXPECT_EQ(options.identity, identity);

  using Kind = HeaderMatch::Kind;
  options::ServerOptions server;
  server.rules = options::Mode::kObserve;
  server.crl = CrlMode::kIfPresent;
  server.deny = {{{"spiffe://partner/*", "dns:a.prod"},
                  {},
                  {{"x-debug", Kind::kPresent, ""},
                   {"x-role", Kind::kExact, "guest"},
                   {"x-tenant", Kind::kPrefix, "eu-"},
                   {"x-trace", Kind::kAbsent, ""}}}};
  EXPECT_EQ(options.server, server);

  TlsOptions tls;
  tls.peer = {"spiffe://prod/cart"};
  EXPECT_EQ(options.services.at("cart")->tls, tls);
  tls = TlsOptions();
  tls.mode = TlsOptions::Mode::kPlaintext;
  EXPECT_EQ(options.services.at("pay")->tls, tls);
  tls = TlsOptions();
  tls.peer = {"dns:mail.prod", "spiffe://partner/mail"};
  tls.crl = CrlMode::kRequire;
  EXPECT_EQ(options.services.at("mail")->tls, tls);
  EXPECT_EQ(options.telemetry.max_peers, 7);
}

TEST(SecurityConfigTest, AnAgentHasASocketAndSaysWhichIdCounts) {
  const auto source = [](const std::string& text) {
    return std::get<options::SpiffeSource>(
        Load(absl::StrCat("identity: {", text, "}")).identity->source);
  };
  EXPECT_EQ(source("spiffe: ''"), options::SpiffeSource());
  EXPECT_EQ(source("spiffe: unix:/a, id: spiffe://prod/a").id,
            "spiffe://prod/a");
  EXPECT_EQ(source("spiffe: tcp://127.0.0.1:80, hint: b").hint, "b");
  EXPECT_EQ(source("spiffe: 'tcp:[::1]:80'").socket, "tcp:[::1]:80");
}

TEST(SecurityConfigTest, AnEmptyGroupIsAnIdentityThatTheApplicationGives) {
  for (const char* text : {"identity: {}\nserver: {}", "identity:\nserver:"}) {
    const options::MeshOptions options = Load(text);
    ASSERT_TRUE(options.identity.has_value());
    EXPECT_TRUE(
        std::holds_alternative<std::monostate>(options.identity->source));
    EXPECT_EQ(options.server.mode, ServerMode::kStrict);
  }
  EXPECT_EQ(Load("identity: {}").server.mode, ServerMode::kStrict);
}

TEST(SecurityConfigTest, ASingleTextStandsForAListOfOne) {
  const options::MeshOptions options = Load(
      "identity: {files: {ca: a, crl: b.crl}}\n"
      "services: {a: {endpoints: [], tls: {peer: 'dns:a.prod'}}}");
  EXPECT_THAT(std::get<options::IdentityFiles>(options.identity->source).crl,
              ElementsAre("/etc/b.crl"));
  EXPECT_THAT(options.services.at("a")->tls->peer, ElementsAre("dns:a.prod"));
}

TEST(SecurityConfigTest, PeersWithTheServicesOwnFilesNeedNoIdentity) {
  const std::string dir = testing::TempDir();
  std::ofstream(dir + "/ca.pem") << "any";
  const options::MeshOptions options =
      Load(absl::StrCat("services: {a: {endpoints: [], tls: {ca_file: ", dir,
                        "/ca.pem, peer: spiffe://prod/a}}}"));
  EXPECT_THAT(options.services.at("a")->tls->peer,
              ElementsAre("spiffe://prod/a"));
}

TEST(SecurityConfigTest, FilesOfAnIdentityAreNotReadHere) {
  const options::MeshOptions options =
      Load("identity: {files: {cert: /no/such, key: /no/such, ca: /no/such}}");
  EXPECT_TRUE(options.identity.has_value())
      << "a bad secret is not a bad configuration";
}

TEST(SecurityConfigTest, PlacesOfSecretsAreKeptForErrorsThatComeLater) {
  const options::MeshOptions options = Load(
      "identity:\n"
      "  files: {ca: a, crl: [b, c], bundles: {test: d}}\n"
      "services:\n"
      "  a: {endpoints: [], tls: {ca_file: e, cert_file: f, key_file: g}}\n"
      "  b: {endpoints: [], tls: {peer: 'spiffe://test/b'}}\n"
      "  c: {endpoints: []}\n");
  const std::map<std::string, std::string> places = {
      {"", "/etc/mesh.yaml:1:1: "},
      {"identity", "/etc/mesh.yaml:2:3: "},
      {"identity.files", "/etc/mesh.yaml:2:10: "},
      {"identity.files.ca", "/etc/mesh.yaml:2:15: "},
      {"identity.files.crl[0]", "/etc/mesh.yaml:2:24: "},
      {"identity.files.crl[1]", "/etc/mesh.yaml:2:27: "},
      {"identity.files.bundles.test", "/etc/mesh.yaml:2:47: "},
      {"services.a.tls", "/etc/mesh.yaml:4:27: "},
      {"services.a.tls.ca_file", "/etc/mesh.yaml:4:37: "},
      {"services.a.tls.cert_file", "/etc/mesh.yaml:4:51: "},
      {"services.a.tls.key_file", "/etc/mesh.yaml:4:64: "},
      {"services.b.tls", "/etc/mesh.yaml:5:27: "},
  };
  EXPECT_EQ(options.places, places);
  v1::Config config;
  config.mutable_identity()->mutable_files()->set_ca("a");
  const auto built = FromProto(config);
  ASSERT_TRUE(built.ok()) << built.status();
  EXPECT_THAT(built->places, IsEmpty()) << "it was built in code";
}

TEST(SecurityConfigTest, TheSchemaSaysTheDefaultsThatTheOptionsHave) {
  const auto default_of = [](const char* name) {
    const auto* field =
        google::protobuf::DescriptorPool::generated_pool()->FindFieldByName(
            absl::StrCat("mesh.v1.", name));
    return field == nullptr
               ? std::string("no such field")
               : field->options().GetExtension(v1::rules).default_();
  };
  const options::MeshOptions empty = Load("identity: {}\nserver: {}");
  const options::MeshOptions written = Load(absl::StrCat(
      "identity: {start_timeout: ", default_of("Identity.start_timeout"),
      "}\nserver: {mode: ", default_of("Server.mode"),
      ", rules: ", default_of("Server.rules"), "}"));
  EXPECT_EQ(empty.identity, written.identity);
  EXPECT_EQ(empty.server, written.server);
  EXPECT_EQ(empty.identity, options::IdentityOptions());
  EXPECT_EQ(empty.server, options::ServerOptions());
  EXPECT_EQ(default_of("Tls.mode"), "tls");
  EXPECT_EQ(TlsOptions().mode, TlsOptions::Mode::kTls);
}

TEST(SecurityConfigTest, DifferencesNameTheRuleByItsPlace) {
  const auto with = [](const std::string& rules) {
    v1::Config config;
    for (const char c : rules) {
      (*config.mutable_server()->add_allow()->mutable_headers())["x"].set_exact(
          std::string(1, c));
    }
    return config;
  };
  EXPECT_THAT(Differences(with("ab"), with("ac")),
              ElementsAre("server.allow[1].headers.x.exact: b -> c"));
  EXPECT_THAT(Differences(with("a"), with("ab")),
              ElementsAre("server.allow[1]: (absent) -> (given)"));
  EXPECT_THAT(Differences(with("ab"), with("ab")), IsEmpty());
}

// ---- Errors ----

class BadSecurityTest : public BadTextTest {};

TEST_P(BadSecurityTest, IsAnErrorWithPlaceFieldAndRemedy) {
  EXPECT_EQ(ErrorOf(GetParam().text), GetParam().error);
}

std::string Server(const std::string& fields) {
  return absl::StrCat("identity: {}\nserver: {", fields, "}\n");
}

std::string Tls(const std::string& fields) {
  return absl::StrCat("services: {cart: {endpoints: [], tls: {", fields,
                      "}}}\n");
}

constexpr char kNoIdentity[] =
    "needs an identity: write identity with files or spiffe, or \"identity: "
    "{}\" where the application gives it.";

INSTANTIATE_TEST_SUITE_P(
    Identity, BadSecurityTest,
    testing::ValuesIn(std::vector<BadText>{
        {"PeerWithoutIdentity", Tls("peer: spiffe://prod/cart"),
         absl::StrCat("mesh.yaml:1:46: services.cart.tls.peer ", kNoIdentity)},
        {"StrictWithoutIdentity", "server: {mode: strict}",
         absl::StrCat("mesh.yaml:1:16: server.mode is strict, which ",
                      kNoIdentity)},
        {"StrictByDefaultWithoutIdentity", "server: {}",
         absl::StrCat("mesh.yaml:1:9: server.mode is strict, which ",
                      kNoIdentity)},
        {"PermissiveWithoutIdentity", "server: {mode: permissive}",
         absl::StrCat("mesh.yaml:1:16: server.mode is permissive, which ",
                      kNoIdentity)},
        {"StrictWithoutCertificate",
         "identity: {files: {ca: a}}\nserver: {mode: strict}",
         "mesh.yaml:2:16: server.mode is strict, which needs a certificate: "
         "write identity.files.cert and identity.files.key."},
        {"BothSources", "identity: {spiffe: '', files: {ca: a}}",
         "mesh.yaml:1:31: identity must have only one of spiffe and files."},
        {"Socket", "identity: {spiffe: '/run/agent.sock'}",
         "mesh.yaml:1:20: identity.spiffe must be \"unix:///path\" or "
         "\"tcp://address:port\", but is \"/run/agent.sock\"."},
        {"SocketByName", "identity: {spiffe: 'tcp://agent:80'}",
         "mesh.yaml:1:20: identity.spiffe must be \"unix:///path\" or "
         "\"tcp://address:port\", but is \"tcp://agent:80\"."},
        {"IdWithoutAgent", "identity: {id: spiffe://prod/a}",
         "mesh.yaml:1:16: identity.id does nothing without spiffe."},
        {"IdAndHint", "identity: {spiffe: '', id: spiffe://prod/a, hint: b}",
         "mesh.yaml:1:51: identity must have only one of id and hint."},
        {"IdWithoutPath", "identity: {spiffe: '', id: spiffe://prod}",
         "mesh.yaml:1:28: identity.id must name a workload, but has no path: "
         "\"spiffe://prod\"."},
        {"NoAuthorities", "identity: {files: {cert: a, key: b}}",
         "mesh.yaml:1:19: identity.files must have ca or bundles: without "
         "authorities no peer is trusted."},
        {"CertWithoutKey", "identity: {files: {ca: a, cert: b}}",
         "mesh.yaml:1:33: identity.files.cert does nothing without key."},
        {"EmptyBundle", "identity: {files: {bundles: {prod: ''}}}",
         "mesh.yaml:1:36: identity.files.bundles.prod must not be empty."},
        {"EmptyCrl", "identity: {files: {ca: a, crl: ['']}}",
         "mesh.yaml:1:33: identity.files.crl[0] must not be empty."},
        {"CrlIsNoText", "identity: {files: {ca: a, crl: {}}}",
         "mesh.yaml:1:32: identity.files.crl must be a string or a list of "
         "them, but is a map."},
    }),
    [](const auto& info) { return info.param.name; });

// The words of others, of which only the beginning is this room's.
TEST(BadPeerTest, IsAnErrorAtItsPlace) {
  struct Bad {
    std::string text;
    const char* begin;
  };
  for (const Bad& bad : std::vector<Bad>{
           {"identity: {spiffe: '', id: prod/a}",
            "mesh.yaml:1:28: identity.id: "},
           {"identity: {peer: 'spiffe://Prod/{service}'}",
            "mesh.yaml:1:18: identity.peer: "},
           {"identity: {files: {bundles: {Prod: a}}}",
            "mesh.yaml:1:36: identity.files.bundles.Prod: "},
           {"identity: {}\n" +
                Tls("peer: [spiffe://prod/a, 'spiffe://prod//']"),
            "mesh.yaml:2:64: services.cart.tls.peer[1]: "},
           {"identity: {peer: 'spiffe://prod/{service}'}\n"
            "services:\n  'a@b': {endpoints: []}\n",
            "mesh.yaml:3:10: services[\"a@b\"] needs a tls of its own: "
            "identity.peer makes no peer of its name. "},
           {Server("allow: [{from: [cart]}]"),
            "mesh.yaml:2:26: server.allow[0].from[0]: "},
       }) {
    const std::string error = ErrorOf(bad.text);
    EXPECT_TRUE(absl::StartsWith(error, bad.begin)) << error;
    EXPECT_FALSE(absl::StrContains(error, "\n")) << error;
    EXPECT_FALSE(absl::StrContains(error, "..")) << error;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Services, BadSecurityTest,
    testing::ValuesIn(std::vector<BadText>{
        {"NoPeer", "identity: {}\n" + Tls("peer: []"),
         "mesh.yaml:2:46: services.cart.tls.peer must not be empty."},
        {"PeerBesidePlaintext",
         "identity: {}\n" + Tls("mode: plaintext, peer: spiffe://prod/a"),
         "mesh.yaml:2:63: services.cart.tls.peer does nothing where mode is "
         "plaintext."},
        {"FileBesidePlaintext", Tls("mode: plaintext, ca_file: a"),
         "mesh.yaml:1:66: services.cart.tls.ca_file does nothing where mode is "
         "plaintext."},
        {"DomainWithoutBundle",
         "identity: {files: {bundles: {prod: a}}}\n" +
             Tls("peer: spiffe://partner/cart"),
         "mesh.yaml:2:46: services.cart.tls.peer[0]: the trust domain "
         "\"partner\" has no bundle: add its authorities to "
         "identity.files.bundles."},
        {"DnsNameWithoutAuthority",
         "identity: {files: {bundles: {prod: a}}}\n" +
             Tls("peer: [spiffe://prod/a, 'dns:a.prod']"),
         "mesh.yaml:2:64: services.cart.tls.peer[1]: no authority vouches for "
         "DNS names: write identity.files.ca."},
        {"TwoDomainsForOneAuthority",
         "identity: {files: {ca: a}, peer: 'spiffe://prod/a'}\n" +
             Tls("peer: spiffe://partner/cart"),
         "mesh.yaml:1:34: identity.peer: the trust domain \"prod\" has no "
         "bundle: add its authorities to identity.files.bundles. "
         "identity.files.ca is for one domain only.\n"
         "mesh.yaml:2:46: services.cart.tls.peer[0]: the trust domain "
         "\"partner\" has no bundle: add its authorities to "
         "identity.files.bundles. identity.files.ca is for one domain only."},
    }),
    [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Rules, BadSecurityTest,
    testing::ValuesIn(std::vector<BadText>{
        {"EmptyRule", Server("allow: [{}]"),
         "mesh.yaml:2:18: server.allow[0] says nothing of a call: write at "
         "least one of from, methods and headers."},
        {"EmptyFrom", Server("allow: [{from: [], methods: [a.B/C]}]"),
         "mesh.yaml:2:25: server.allow[0].from must not be empty."},
        {"OnlyEmptyFrom", Server("allow: [{from: []}]"),
         "mesh.yaml:2:25: server.allow[0].from must not be empty."},
        {"FromWithNothing",
         "identity: {}\nserver:\n  allow:\n  - from:\n    methods: [a.B/C]\n",
         "mesh.yaml:4:5: server.allow[0].from must be a list, but is empty."},
        {"AllowWithNothing", "identity: {}\nserver:\n  allow:\n  deny: []\n",
         "mesh.yaml:3:3: server.allow must be a list, but is empty."},
        {"FromIsNoList", Server("allow: [{from: spiffe://prod/a}]"),
         "mesh.yaml:2:25: server.allow[0].from must be a list, but is the "
         "string \"spiffe://prod/a\"."},
        {"Method", Server("deny: [{methods: [a.B/C, /a.B/C]}]"),
         "mesh.yaml:2:35: server.deny[0].methods[1] must be "
         "\"package.Service/Method\" or \"package.Service/*\", of letters, "
         "digits, \"_\" and \".\", but is \"/a.B/C\"."},
        {"PlaintextUnderStrict", Server("allow: [{from: [plaintext]}]"),
         "mesh.yaml:2:26: server.allow[0].from[0] has no effect: a strict "
         "server admits no plaintext. Remove it, or write \"mode: "
         "permissive\"."},
        {"Covered",
         Server("deny: [{from: [spiffe://prod/*]}], allow: [{from: "
                "[spiffe://prod/a]}]"),
         "mesh.yaml:2:61: server.allow[0].from[0] has no effect: what it "
         "allows is denied by server.deny[0]. Remove one of them."},
        {"HeaderOfUpperCase",
         Server("deny: [{headers: {X-Role: {present: true}}}]"),
         "mesh.yaml:2:36: server.deny[0].headers.X-Role must be in lower case, "
         "as HTTP/2 has it: write \"x-role\"."},
        {"PseudoHeader", Server("deny: [{headers: {\":path\": {prefix: /a}}}]"),
         "mesh.yaml:2:37: server.deny[0].headers[\":path\"] is a "
         "pseudo-header, and no rule can name one: \"methods\" is about the "
         "path, \"from\" about the caller."},
        {"HeaderWithoutMatch", Server("deny: [{headers: {x: {}}}]"),
         "mesh.yaml:2:31: server.deny[0].headers.x must have one of exact, "
         "prefix, present and absent."},
        {"HeaderWithNothing", Server("deny: [{headers: {x: }}]"),
         "mesh.yaml:2:28: server.deny[0].headers.x must have one of exact, "
         "prefix, present and absent."},
        {"HeaderWithTwo",
         Server("deny: [{headers: {x: {exact: a, prefix: b}}}]"),
         "mesh.yaml:2:42: server.deny[0].headers.x must have only one of exact "
         "and prefix."},
        {"NotPresent", Server("deny: [{headers: {x: {present: false}}}]"),
         "mesh.yaml:2:41: server.deny[0].headers.x.present must be true: "
         "\"present\" and \"absent\" are each other's opposite."},
        {"HeaderOfOtherType", Server("deny: [{headers: {x: {exact: 5}}}]"),
         "mesh.yaml:2:39: server.deny[0].headers.x.exact must be a string, but "
         "is 5; put it in quotes."},
        {"RulesOff", Server("rules: off"),
         "mesh.yaml:2:17: server.rules must be enforce or observe, but is the "
         "string \"off\"."},
    }),
    [](const auto& info) { return info.param.name; });

TEST(SecurityConfigTest, RulesThatAreBuiltInCodeAreCheckedToo) {
  v1::Config config;
  config.mutable_identity();
  config.mutable_server()->add_deny()->add_methods("\xff/a");
  const auto options = FromProto(config);
  ASSERT_FALSE(options.ok());
  EXPECT_TRUE(absl::StrContains(options.status().message(),
                                "server.deny[0].methods[0] must be UTF-8"))
      << options.status();
}

// ---- Warnings ----

TEST(SecurityWarningsTest, TellOfAKeyThatOthersMayRead) {
  std::string dir = testing::TempDir() + "/key_XXXXXX";
  ASSERT_NE(mkdtemp(dir.data()), nullptr);
  std::ofstream(dir + "/a.key") << "any";
  std::ofstream(dir + "/a.pem") << "any";
  const std::string text =
      "identity: {files: {ca: a.pem, cert: a.pem, key: a.key}}";
  const auto load = [&](mode_t mode) {
    EXPECT_EQ(chmod((dir + "/a.key").c_str(), mode), 0);
    const auto options = LoadText(text, dir + "/mesh.yaml");
    EXPECT_TRUE(options.ok()) << options.status();
    return options->warnings;
  };
  EXPECT_THAT(load(0640), IsEmpty());
  EXPECT_THAT(
      load(0644),
      ElementsAre(absl::StrCat(
          dir,
          "/mesh.yaml:1:49: identity.files.key: all users of this machine may "
          "read the file ",
          dir, "/a.key. Take that right away (chmod o-r).")));
}

// Those that have `part`. Files that are missing are warnings, too.
std::vector<std::string> WarningsWith(absl::string_view part,
                                      const std::string& text) {
  std::vector<std::string> found;
  for (const std::string& warning : Load(text).warnings) {
    if (absl::StrContains(warning, part)) found.push_back(warning);
  }
  return found;
}

TEST(SecurityWarningsTest, TellOfIfPresentWithoutAList) {
  const std::string nobody =
      " is if_present, but identity.files.crl names no list: nobody is refused "
      "for it.";
  EXPECT_THAT(
      WarningsWith("if_present",
                   "identity: {files: {ca: a, cert: b, key: c}, peer: "
                   "'spiffe://prod/a'}\n"
                   "server: {crl: if_present}\n" +
                       Tls("peer: spiffe://prod/b, crl: if_present")),
      ElementsAre(
          absl::StrCat("/etc/mesh.yaml:2:15: server.crl", nobody),
          absl::StrCat("/etc/mesh.yaml:3:68: services.cart.tls.crl", nobody)));
  EXPECT_THAT(
      Load("identity: {spiffe: ''}\nserver: {crl: if_present}").warnings,
      IsEmpty())
      << "an agent may have lists";
  EXPECT_THAT(
      WarningsWith("if_present",
                   "identity: {files: {ca: a, cert: b, key: c, crl: d}}\n"
                   "server: {crl: if_present}"),
      IsEmpty());
}

}  // namespace
}  // namespace mesh::config
