#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/certs/authority.h"
#include "mesh/security/testing/certificates.h"
#include "mesh/security/verifier.h"

// Whom a certificate names, and who may vouch for it.

namespace mesh::security {
namespace {

using certs::AltName;
using testing::Der;
using testing::DerOid;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::kDnsName;
using testing::kEmailName;
using testing::kOtherName;
using testing::kUriName;
using testing::kUtf8String;
using testing::Must;
using testing::Scene;

constexpr char kCart[] = "spiffe://prod/cart";
constexpr AltName::Type kUri = AltName::Type::kUri;
constexpr AltName::Type kDns = AltName::Type::kDns;

std::vector<PeerPattern> Patterns(const std::vector<std::string>& texts) {
  return Must(ParsePeerPatterns(texts));
}

class NamesTest : public ::testing::Test {
 protected:
  std::string ChainOf(const std::vector<AltName>& names,
                      const std::string& common_name = "") const {
    certs::CertificateOptions leaf = scene_.Svid(kCart);
    leaf.names = names;
    leaf.common_name = common_name;
    return scene_.Chain(leaf);
  }
  std::string Why(const std::vector<AltName>& names) const {
    return scene_.Why(ChainOf(names));
  }
  std::string WhyId(const std::string& id) const { return Why({{kUri, id}}); }
  // What becomes of a leaf whose GeneralNames are these, in DER.
  std::string WhyDer(const std::string& names) const {
    certs::CertificateOptions leaf = scene_.Svid(kCart);
    leaf.names = {};
    leaf.extensions = {testing::AltNamesExtension(names)};
    return scene_.Why(scene_.Chain(leaf));
  }

  Scene scene_;
};

TEST_F(NamesTest, ASpiffeIdIsTheOnlyUri) {
  const std::string other = "spiffe://prod/admin";
  const std::string web = "https://prod/cart";
  EXPECT_EQ(Why({{kUri, kCart}}), "none");
  EXPECT_EQ(Why({{kUri, kCart}, {kUri, other}}), "bad_name");
  EXPECT_EQ(Why({{kUri, other}, {kUri, kCart}}), "bad_name");
  EXPECT_EQ(Why({{kUri, kCart}, {kUri, kCart}}), "bad_name");
  EXPECT_EQ(Why({{kUri, kCart}, {kUri, web}}), "bad_name");
  EXPECT_EQ(Why({{kUri, web}, {kUri, kCart}}), "bad_name");
  EXPECT_EQ(Why({{kUri, web}, {kUri, "Spiffe://prod/cart"}}), "bad_name");
  // Names of other kinds may stand beside it.
  EXPECT_EQ(Why({{kDns, "cart.prod"}, {kUri, kCart}}), "none");
}

TEST_F(NamesTest, ANameDoesNotEndAtANul) {
  EXPECT_EQ(WhyId(kCart), "none");
  EXPECT_EQ(WhyId(std::string("spiffe://prod/cart\0.evil", 24)), "bad_name");
  EXPECT_EQ(WhyId(std::string("spiffe://prod\0/cart", 19)), "bad_name");
  EXPECT_EQ(WhyId(std::string("\0spiffe://prod/cart", 19)), "bad_name");
  EXPECT_EQ(Why({{kUri, kCart}, {kDns, "cart.prod"}}), "none");
  EXPECT_EQ(Why({{kUri, kCart}, {kDns, std::string("cart\0.evil", 10)}}),
            "bad_name");
  EXPECT_EQ(Why({{kDns, std::string("cart.prod\0.evil", 15)}}), "bad_name");
}

TEST_F(NamesTest, ASpiffeIdIsAsItsStandardSays) {
  EXPECT_EQ(WhyId(kCart), "none");
  for (const char* id :
       {"SPIFFE://prod/cart", "spiffe://Prod/cart", "spiffe://pr%6fd/cart",
        "spiffe://prod/c%61rt", "spiffe://prod/cart/",
        "spiffe://prod/cart/../admin", "spiffe://prod/./cart",
        "spiffe://prod//cart", "spiffe://prod:443/cart",
        "spiffe://me@prod/cart", "spiffe://prod/cart?x", "spiffe://prod/cart#x",
        "spiffe://prod", "spiffe://prod/", "spiffe:///cart",
        "spiffe:", "spiffe:/prod/cart", "spiffe://prod/ca rt"}) {
    EXPECT_EQ(WhyId(id), "bad_name") << id;
  }
  const std::string start = "spiffe://prod/";
  EXPECT_EQ(WhyId(start + std::string(2048 - start.size(), 'a')), "none");
  EXPECT_EQ(WhyId(start + std::string(2049 - start.size(), 'a')), "bad_name");
}

TEST_F(NamesTest, OnlyAUriIsASpiffeId) {
  scene_.policy.allowed = Patterns({kCart});
  const std::string other =
      Der(kOtherName,
          DerOid("1.3.6.1.4.1.99999.1") + Der(0xa0, Der(kUtf8String, kCart)));
  EXPECT_EQ(WhyDer(Der(kUriName, kCart)), "none");
  EXPECT_EQ(WhyDer(Der(kDnsName, kCart)), "bad_name");
  EXPECT_EQ(WhyDer(other), "not_allowed");
  EXPECT_EQ(WhyDer(Der(kEmailName, kCart)), "not_allowed");
  EXPECT_EQ(scene_.Why(ChainOf({}, kCart)), "not_allowed");
  EXPECT_EQ(scene_.Why(ChainOf({{kDns, "x"}}, kCart)), "not_allowed");
  // Beside a good one they change nothing.
  EXPECT_EQ(WhyDer(other + Der(kUriName, kCart)), "none");
  EXPECT_EQ(WhyDer(other + Der(kUriName, "spiffe://prod/admin")),
            "not_allowed");
}

TEST_F(NamesTest, OneBundleVouchesForTheDomainsThatAreAllowed) {
  const auto why = [&](const std::string& id, bool one_bundle) {
    scene_.policy.one_bundle = one_bundle;
    return WhyId(id);
  };
  scene_.bundles = {{"", scene_.root.pem()}};
  scene_.own_domain = "";
  const std::string other = "spiffe://test/cart";
  EXPECT_EQ(why(kCart, true), "no_bundle") << "nobody names a domain";
  scene_.policy.allowed = Patterns({other, "dns:cart"});
  EXPECT_EQ(why(other, true), "none");
  EXPECT_EQ(why(other, false), "no_bundle");
  EXPECT_EQ(why("spiffe://test/shop", true), "not_allowed");
  EXPECT_EQ(why(kCart, true), "no_bundle");
  EXPECT_EQ(Why({{kDns, "cart"}}), "none");
  // A bundle that the domain has of its own is the only one.
  scene_.bundles["test"] = scene_.MakeRoot("test-root").pem();
  EXPECT_EQ(why(other, true), "unknown_authority");
}

TEST_F(NamesTest, APeerHasToBeOneOfThoseThatAreAllowed) {
  const std::string chain = ChainOf({{kUri, kCart}, {kDns, "cart.prod"}});
  const auto why = [&](const std::vector<std::string>& allowed) {
    scene_.policy.allowed = Patterns(allowed);
    return scene_.Why(chain);
  };
  EXPECT_EQ(why({}), "none");
  EXPECT_EQ(why({kCart}), "none");
  EXPECT_EQ(why({"spiffe://prod/admin", "spiffe://prod/*"}), "none");
  EXPECT_EQ(why({"dns:Cart.Prod"}), "none");
  EXPECT_EQ(why({"spiffe://prod/admin"}), "not_allowed");
  EXPECT_EQ(why({"spiffe://prod/cart/*"}), "not_allowed");
  EXPECT_EQ(why({"dns:prod"}), "not_allowed");
  scene_.policy.allowed = Patterns({"spiffe://prod/cart/*"});
  EXPECT_EQ(WhyId("spiffe://prod/cart/a"), "none");
  EXPECT_EQ(WhyId("spiffe://prod/cart-evil"), "not_allowed");
}

TEST_F(NamesTest, AWildcardNamesNobody) {
  scene_.policy.side = PeerSide::kServer;
  const auto why = [this](const std::string& name) {
    return scene_.Why(
        scene_.Chain(certs::ServerOptions({name}, scene_.from, scene_.until)));
  };
  // Without a pattern, gRPC compares the authority, and knows wildcards.
  EXPECT_EQ(why("*.prod"), "none");
  scene_.policy.allowed = Patterns({"dns:cart.prod"});
  EXPECT_EQ(why("cart.prod"), "none");
  EXPECT_EQ(why("*.prod"), "not_allowed");
  EXPECT_EQ(why("*"), "not_allowed");
}

TEST_F(NamesTest, TheCommonNameIsNoDnsName) {
  scene_.policy.allowed = Patterns({"dns:cart.prod"});
  EXPECT_EQ(scene_.Why(ChainOf({{kDns, "cart.prod"}}, "x")), "none");
  EXPECT_EQ(scene_.Why(ChainOf({}, "cart.prod")), "not_allowed");
  EXPECT_EQ(scene_.Why(ChainOf({{kDns, "x"}}, "cart.prod")), "not_allowed");
}

TEST_F(NamesTest, AnAuthorityVouchesForItsOwnTrustDomainOnly) {
  const certs::Authority other = scene_.MakeRoot("other root");
  certs::CertificateOptions theirs = scene_.Svid("spiffe://other/cart");
  const std::string by_other = Must(other.Issue(theirs)).chain;
  const std::string by_ours = scene_.Chain(theirs);
  EXPECT_EQ(scene_.Why(by_other), "no_bundle");
  EXPECT_EQ(scene_.Why(by_ours), "no_bundle");
  scene_.bundles["other"] = other.pem();
  EXPECT_EQ(scene_.Why(by_other), "none");
  EXPECT_EQ(scene_.Why(by_ours), "unknown_authority");
  EXPECT_EQ(scene_.Why(Must(other.Issue(scene_.Svid(kCart))).chain),
            "unknown_authority");
  // An intermediate of theirs below our root does not help.
  const certs::Authority cross = Must(scene_.root.MakeIntermediate(
      scene_.AuthorityOptions("other root"), other.key()));
  EXPECT_EQ(scene_.Why(by_other + cross.pem()), "none");
  scene_.bundles["other"] = scene_.MakeRoot("other root").pem();
  EXPECT_EQ(scene_.Why(by_other + cross.pem()), "unknown_authority");
}

TEST_F(NamesTest, TheBundleWithoutANameIsOurs) {
  scene_.bundles = {{"", scene_.root.pem()}};
  EXPECT_EQ(WhyId(kCart), "none");
  EXPECT_EQ(Why({{kDns, "cart"}}), "none");
  EXPECT_EQ(WhyId("spiffe://other/cart"), "no_bundle");
  // One of our domain goes first.
  scene_.bundles["prod"] = scene_.MakeRoot("second").pem();
  EXPECT_EQ(WhyId(kCart), "unknown_authority");
  EXPECT_EQ(Why({{kDns, "cart"}}), "none");
  // Without a domain of our own it vouches for none.
  scene_.bundles = {{"", scene_.root.pem()}};
  scene_.own_domain = "";
  EXPECT_EQ(WhyId(kCart), "no_bundle");
  EXPECT_EQ(Why({{kDns, "cart"}}), "none");
}

TEST_F(NamesTest, WithoutABundleForDnsNamesNobodyHasOnlyThem) {
  scene_.bundles = {{"prod", scene_.root.pem()}};
  EXPECT_EQ(WhyId(kCart), "none");
  EXPECT_EQ(Why({{kDns, "cart"}}), "no_bundle");
}

TEST_F(NamesTest, AForeignAuthorityVouchesForNoDnsName) {
  const certs::Authority other = scene_.MakeRoot("other root");
  scene_.bundles["other"] = other.pem();
  certs::CertificateOptions leaf = scene_.Svid("spiffe://other/cart");
  leaf.names.push_back({kDns, "cart.prod"});
  const std::string theirs = Must(other.Issue(leaf)).chain;
  EXPECT_THAT(scene_.Judge(theirs).peer.dns_names, IsEmpty());
  EXPECT_THAT(scene_.Judge(ChainOf({{kUri, kCart}, {kDns, "cart.prod"}}))
                  .peer.dns_names,
              ElementsAre("cart.prod"));
  scene_.policy.allowed = Patterns({"dns:cart.prod"});
  EXPECT_EQ(scene_.Why(theirs), "not_allowed");
  EXPECT_EQ(Why({{kUri, kCart}, {kDns, "cart.prod"}}), "none");
}

TEST_F(NamesTest, TwoSubjectAltNamesAreNotOne) {
  certs::CertificateOptions leaf = scene_.Svid(kCart);
  EXPECT_EQ(scene_.Why(scene_.Chain(leaf)), "none");
  leaf.extensions = {
      testing::AltNamesExtension(Der(kUriName, "spiffe://prod/admin"))};
  EXPECT_EQ(scene_.Why(scene_.Chain(leaf)), "malformed");
  leaf.names = {};
  EXPECT_EQ(scene_.Why(scene_.Chain(leaf)), "none");
  leaf.extensions[0].der = "\x30\x05\x86\x20";  // It is cut off.
  EXPECT_NE(scene_.Why(scene_.Chain(leaf)), "none");
}

TEST_F(NamesTest, AHostIsADnsNameOrAnAddress) {
  const std::string v4("\x7f\0\0\1", 4);
  const std::string v6 = std::string(15, '\0') + "\x01";
  const auto why = [this](const std::string& host,
                          const std::vector<AltName>& names,
                          const std::string& common_name = "") {
    scene_.policy.host = host;
    return scene_.Why(ChainOf(names, common_name));
  };
  EXPECT_EQ(why("cart.prod.test", {{kDns, "cart.prod.test"}}), "none");
  EXPECT_EQ(why("cart.prod.test", {{kDns, "*.prod.test"}}), "none");
  EXPECT_EQ(why("127.0.0.1", {{AltName::Type::kIp, v4}}), "none");
  EXPECT_EQ(why("::1", {{AltName::Type::kIp, v6}}), "none");
  EXPECT_EQ(why("0:0::1", {{AltName::Type::kIp, v6}}), "none");
  EXPECT_EQ(why("127.0.0.1", {{kDns, "127.0.0.1"}}), "none");
  EXPECT_EQ(why("cart", {}, "cart"), "none");
  for (const char* host : {"prod.test", "x.cart.prod.test", ".prod.test", ".",
                           "cart.prod.test.x", "*.prod.test."}) {
    EXPECT_EQ(why(host, {{kDns, "cart.prod.test"}}), "not_allowed") << host;
  }
  for (const char* name :
       {"*.test", "*", "c*.prod.test", "*rt.prod.test", "cart.*.test", "."}) {
    EXPECT_EQ(why("cart.prod.test", {{kDns, name}}), "not_allowed") << name;
  }
  EXPECT_EQ(why("127.0.0.2", {{AltName::Type::kIp, v4}}), "not_allowed");
  EXPECT_EQ(why("127.0.0.1", {{kDns, "*.0.0.1"}}), "not_allowed");
  EXPECT_EQ(why("127.0.0.1", {}, "127.0.0.1"), "not_allowed");
  EXPECT_EQ(why("cart", {{kDns, "x"}}, "cart"), "not_allowed");
  EXPECT_EQ(why("cart", {{kUri, "https://x"}}, "cart"), "not_allowed");
  EXPECT_EQ(why("cart", {{AltName::Type::kEmail, "cart"}}), "not_allowed");
  EXPECT_EQ(why("cart", {}, std::string("cart\0.evil", 10)), "not_allowed");
}

TEST_F(NamesTest, WhoAsksForAHostAsksForNoSpiffeId) {
  const std::vector<AltName> names = {{kUri, "spiffe://far/cart"},
                                      {kDns, "cart"}};
  EXPECT_EQ(Why(names), "no_bundle");
  scene_.policy.host = "cart";
  EXPECT_EQ(Why(names), "none");
  EXPECT_EQ(scene_.Judge(ChainOf(names)).peer.spiffe_id, "");
  EXPECT_EQ(scene_.Judge(ChainOf(names)).claim, "\"spiffe://far/cart\"");
  // The authority of another trust domain speaks for no host.
  scene_.bundles["far"] = scene_.root.pem();
  scene_.bundles[""] = scene_.MakeRoot("other").pem();
  EXPECT_EQ(Why(names), "not_allowed");
  scene_.policy.host.clear();
  EXPECT_EQ(Why(names), "none");
}

TEST_F(NamesTest, ARefusedPeerHasAClaim) {
  const auto claim = [this](const std::vector<AltName>& names) {
    return scene_.Judge(ChainOf(names)).claim;
  };
  scene_.policy.allowed = Patterns({"spiffe://prod/admin"});
  EXPECT_EQ(claim({{kUri, kCart}}), "\"spiffe://prod/cart\"");
  EXPECT_EQ(claim({{kDns, "cart.prod"}}), "\"cart.prod\"");
  EXPECT_EQ(claim({}), "");
  EXPECT_EQ(claim({{kUri, "spiffe://prod//"}}), "");
}

class ConstraintsTest : public NamesTest {
 protected:
  // What becomes of a leaf below an authority with these constraints.
  std::string Why(const certs::Extension& constraints,
                  const certs::CertificateOptions& leaf) const {
    certs::CertificateOptions options = scene_.AuthorityOptions("middle");
    options.extensions = {constraints};
    const certs::Authority middle = Must(scene_.root.MakeIntermediate(
        options, Must(certs::Key::Make(certs::KeyType::kP256))));
    return scene_.Why(Must(middle.Issue(leaf)).chain);
  }
};

TEST_F(ConstraintsTest, AnAuthorityIsHeldToThem) {
  const certs::CertificateOptions leaf = scene_.Svid(kCart);
  const std::string prod = Der(kUriName, "prod");
  const std::string other = Der(kUriName, "other");
  EXPECT_EQ(Why(testing::NameConstraints({prod}, {}), leaf), "none");
  EXPECT_EQ(Why(testing::NameConstraints({}, {other}), leaf), "none");
  EXPECT_EQ(Why(testing::NameConstraints({other}, {}), leaf),
            "name_constraints");
  EXPECT_EQ(Why(testing::NameConstraints({}, {prod}), leaf),
            "name_constraints");
  certs::CertificateOptions dns = leaf;
  dns.names.push_back({kDns, "cart.prod"});
  EXPECT_EQ(Why(testing::NameConstraints({Der(kDnsName, "prod")}, {}), dns),
            "none");
  EXPECT_EQ(Why(testing::NameConstraints({Der(kDnsName, "test")}, {}), dns),
            "name_constraints");
}

TEST_F(ConstraintsTest, PunycodeInThemDoesNoHarm) {
  // CVE-2022-3602: long punycode in a constraint on mail addresses, and an
  // internationalised address (id-on-SmtpUTF8Mailbox) to compare it with.
  const std::string mailbox =
      Der(kOtherName,
          DerOid("1.3.6.1.5.5.7.8.9") + Der(0xa0, Der(kUtf8String, "a@b.c")));
  certs::CertificateOptions leaf = scene_.Svid(kCart);
  leaf.names = {};
  leaf.extensions = {
      testing::AltNamesExtension(Der(kUriName, kCart) + mailbox)};
  const std::string punycode =
      absl::StrCat("xn--", std::string(505, 'a'), "-", std::string(300, '9'));
  const certs::Extension long_one =
      testing::NameConstraints({Der(kEmailName, punycode)}, {});
  EXPECT_NE(Why(long_one, leaf), "none");
  EXPECT_EQ(Why(long_one, scene_.Svid(kCart)), "none");
}

TEST_F(ConstraintsTest, NamesOfOtherKindsInThemDoNoHarm) {
  const std::string x400 = Der(testing::kX400Address, Der(0x30, ""));
  const std::string edi =
      Der(testing::kEdiPartyName, Der(0xa1, Der(kUtf8String, "party")));
  for (const std::string& name : {x400, edi}) {
    const certs::Extension constraints = testing::NameConstraints({}, {name});
    EXPECT_EQ(Why(constraints, scene_.Svid(kCart)), "none");
    certs::CertificateOptions leaf = scene_.Svid(kCart);
    leaf.names = {};
    leaf.extensions = {testing::AltNamesExtension(Der(kUriName, kCart) + name)};
    EXPECT_EQ(Why(constraints, leaf), "name_constraints");
  }
}

}  // namespace
}  // namespace mesh::security
