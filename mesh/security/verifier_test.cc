#include "mesh/security/verifier.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/certs/authority.h"
#include "mesh/security/certificate.h"
#include "mesh/security/testing/certificates.h"
#include "openssl/x509.h"

// Chains, dates, purposes and keys. Names are in verifier_names_test.cc, lists
// in verifier_crl_test.cc.

namespace mesh::security {
namespace {

using testing::CurveKey;
using testing::Der;
using testing::ExplicitCurveKey;
using ::testing::HasSubstr;
using testing::kSequence;
using testing::Must;
using testing::Scene;

constexpr char kCart[] = "spiffe://prod/cart";

certs::Key MakeKey(certs::KeyType type, int bits = 2048) {
  return Must(certs::Key::Make(type, bits));
}

// The certificates of PEM texts, one after another, in DER.
std::string DerOf(absl::string_view pem) {
  std::string der;
  for (const X509Ptr& one : Must(ParseCertificates(pem, 100))) {
    unsigned char* bytes = nullptr;
    const int size = i2d_X509(one.get(), &bytes);
    der.append(reinterpret_cast<const char*>(bytes), size);
    OPENSSL_free(bytes);
  }
  return der;
}

TEST(VerifierTest, AdmitsAGoodPeerAndTellsWhoItIsAndUntilWhen) {
  Scene scene;
  certs::CertificateOptions leaf = scene.Svid(kCart);
  leaf.not_after = scene.now + absl::Hours(1);
  for (const PeerSide side : {PeerSide::kClient, PeerSide::kServer}) {
    scene.policy.side = side;
    const PeerVerdict verdict = scene.Judge(scene.Chain(leaf));
    EXPECT_TRUE(verdict.admitted()) << verdict.text;
    EXPECT_EQ(verdict.peer.spiffe_id, kCart);
    EXPECT_FALSE(verdict.peer.plaintext);
    EXPECT_EQ(verdict.not_after, scene.now + absl::Hours(1));
    EXPECT_FALSE(verdict.lacks_crl);
  }
}

TEST(VerifierTest, ReadsDerAsItReadsPem) {
  const Scene scene;
  const certs::Authority middle = scene.MakeBelow(scene.root, "middle");
  const std::string chain = Must(middle.Issue(scene.Svid(kCart))).chain;
  EXPECT_EQ(scene.Why(chain), "none");
  const std::string der = DerOf(chain);
  EXPECT_EQ(scene.Why(der), "none");
  EXPECT_EQ(scene.Why(der.substr(0, der.size() - 1)), "malformed");
  EXPECT_EQ(scene.Why(der + "x"), "malformed");
}

TEST(VerifierTest, RefusesAPeerThatShowsNothingReadable) {
  const Scene scene;
  const std::string good = scene.Chain(scene.Svid(kCart));
  EXPECT_EQ(scene.Why(good), "none");
  EXPECT_EQ(scene.Why(""), "no_certificate");
  EXPECT_EQ(scene.Why("a text"), "no_certificate");
  EXPECT_EQ(scene.Why(good.substr(0, good.size() / 2)), "malformed");
  EXPECT_EQ(scene.Why(good + "-----BEGIN CERTIFICATE-----\nAAAA\n"
                             "-----END CERTIFICATE-----\n"),
            "malformed");
  EXPECT_EQ(scene.Why(good + std::string(kMaxPeerChainBytes, ' ')), "too_long");
}

TEST(VerifierTest, RefusesAuthoritiesThatAreNotTrusted) {
  const Scene scene;
  // It has the same name, and another key.
  const certs::Authority other = scene.MakeRoot("root");
  const certs::CertificateOptions leaf = scene.Svid(kCart);
  EXPECT_EQ(scene.Why(scene.Chain(leaf)), "none");
  EXPECT_EQ(scene.Why(Must(other.Issue(leaf)).chain), "unknown_authority");
  // A peer may show its root, and that changes nothing.
  EXPECT_EQ(scene.Why(Must(other.Issue(leaf)).chain + other.pem()),
            "unknown_authority");
  EXPECT_EQ(scene.Why(scene.Chain(leaf) + scene.root.pem()), "none");
  EXPECT_EQ(scene.Why(scene.Chain(leaf) + other.pem()), "none");
}

TEST(VerifierTest, RefusesWhatIsSignedByItself) {
  Scene scene;
  certs::CertificateOptions self = scene.Svid(kCart);
  self.common_name = "cart";
  const std::string svid =
      Must(certs::Authority::MakeRoot(self, MakeKey(certs::KeyType::kP256)))
          .pem();
  EXPECT_EQ(scene.Why(svid), "unknown_authority");
  // An X.509-SVID is no authority, not even for itself.
  scene.bundles["prod"] = svid;
  EXPECT_EQ(scene.Why(svid), "unknown_authority");

  // A server's own certificate, made by hand, is in its callers' bundle.
  certs::CertificateOptions by_hand =
      certs::ServerOptions({"cart.prod"}, scene.from, scene.until);
  by_hand.common_name = "cart";
  by_hand.authority = true;
  by_hand.key_usage = 0;
  by_hand.purposes = {};
  const std::string pem =
      Must(certs::Authority::MakeRoot(by_hand, MakeKey(certs::KeyType::kP256)))
          .pem();
  scene.policy.side = PeerSide::kServer;
  EXPECT_EQ(scene.Why(pem), "bad_leaf");
  scene.bundles[""] = pem;
  const PeerVerdict verdict = scene.Judge(pem);
  EXPECT_TRUE(verdict.admitted()) << verdict.text;
  EXPECT_THAT(verdict.peer.dns_names, ::testing::ElementsAre("cart.prod"));
}

TEST(VerifierTest, RefusesASignatureThatIsNotTheIssuers) {
  const Scene scene;
  const std::string good = DerOf(scene.Chain(scene.Svid(kCart)));
  EXPECT_EQ(scene.Why(good), "none");
  std::string bad = good;
  bad[bad.size() - 5] ^= 1;  // In the signature.
  EXPECT_EQ(scene.Why(bad), "bad_chain");
}

TEST(VerifierTest, HoldsEachCertificateToItsDates) {
  Scene scene;
  certs::CertificateOptions middle_options = scene.AuthorityOptions("middle");
  middle_options.not_before = scene.now - absl::Hours(2);
  middle_options.not_after = scene.now + absl::Hours(2);
  const certs::Authority middle = Must(scene.root.MakeIntermediate(
      middle_options, MakeKey(certs::KeyType::kP256)));
  certs::CertificateOptions leaf = scene.Svid(kCart);
  leaf.not_before = scene.now - absl::Hours(3);
  leaf.not_after = scene.now + absl::Hours(1);
  const std::string chain = Must(middle.Issue(leaf)).chain;
  const absl::Time now = scene.now;
  const auto at = [&](absl::Duration offset) {
    scene.now = now + offset;
    return scene.Why(chain);
  };
  EXPECT_EQ(at(absl::ZeroDuration()), "none");
  EXPECT_EQ(at(absl::Hours(1) - absl::Seconds(1)), "none");
  EXPECT_EQ(at(absl::Hours(1)), "expired");
  EXPECT_EQ(at(-absl::Hours(2)), "none");
  EXPECT_EQ(at(-absl::Hours(2) - absl::Seconds(1)), "not_yet_valid");
  EXPECT_EQ(at(-absl::Hours(4)), "not_yet_valid");
  EXPECT_EQ(at(absl::Hours(3)), "expired");

  // The intermediate ends first.
  scene.now = now;
  leaf.not_after = scene.now + absl::Hours(20);
  EXPECT_EQ(scene.Judge(Must(middle.Issue(leaf)).chain).not_after,
            middle_options.not_after);
}

TEST(VerifierTest, RefusesAnAuthorityInTheBundleThatHasExpired) {
  Scene scene;
  certs::CertificateOptions leaf = scene.Svid(kCart);
  leaf.not_after = scene.now + absl::Hours(100);
  const std::string chain = scene.Chain(leaf);
  EXPECT_EQ(scene.Why(chain), "none");
  scene.now = scene.until;
  EXPECT_EQ(scene.Why(chain), "expired");
}

TEST(VerifierTest, HoldsAPeerToThePurposeOfItsSide) {
  Scene scene;
  const std::string server =
      scene.Chain(certs::ServerOptions({"cart"}, scene.from, scene.until));
  const std::string client =
      scene.Chain(certs::ClientOptions({"cart"}, scene.from, scene.until));
  scene.policy.side = PeerSide::kServer;
  EXPECT_EQ(scene.Why(server), "none");
  EXPECT_EQ(scene.Why(client), "bad_purpose");
  scene.policy.side = PeerSide::kClient;
  EXPECT_EQ(scene.Why(server), "bad_purpose");
  EXPECT_EQ(scene.Why(client), "none");
}

TEST(VerifierTest, HoldsAnAuthorityToItsPurposes) {
  const Scene scene;
  certs::CertificateOptions options = scene.AuthorityOptions("middle");
  options.purposes = {"serverAuth", "clientAuth"};
  const certs::Key key = MakeKey(certs::KeyType::kP256);
  const auto chain = [&] {
    return Must(Must(scene.root.MakeIntermediate(options, key))
                    .Issue(scene.Svid(kCart)))
        .chain;
  };
  EXPECT_EQ(scene.Why(chain()), "none");
  options.purposes = {"serverAuth"};
  EXPECT_EQ(scene.Why(chain()), "bad_purpose");
}

TEST(VerifierTest, WantsOfASvidWhatItsStandardWants) {
  const Scene scene;
  const auto why = [&scene](const auto& change) {
    certs::CertificateOptions leaf = scene.Svid(kCart);
    change(&leaf);
    return scene.Why(scene.Chain(leaf));
  };
  using Options = certs::CertificateOptions;
  EXPECT_EQ(why([](Options*) {}), "none");
  EXPECT_EQ(why([](Options* o) { o->purposes = {}; }), "none");
  EXPECT_EQ(why([](Options* o) { o->key_usage |= certs::kKeyEncipherment; }),
            "none");
  EXPECT_EQ(why([](Options* o) { o->purposes.pop_back(); }), "bad_leaf");
  EXPECT_EQ(why([](Options* o) { o->purposes = {"emailProtection"}; }),
            "bad_leaf");
  EXPECT_EQ(why([](Options* o) { o->key_usage = 0; }), "bad_leaf");
  EXPECT_EQ(why([](Options* o) { o->key_usage = certs::kKeyEncipherment; }),
            "bad_leaf");
  EXPECT_EQ(why([](Options* o) { o->key_usage |= certs::kKeyCertSign; }),
            "bad_leaf");
  EXPECT_EQ(why([](Options* o) { o->key_usage |= certs::kCrlSign; }),
            "bad_leaf");
  EXPECT_EQ(why([](Options* o) { o->authority = true; }), "bad_leaf");
}

TEST(VerifierTest, RefusesAnAuthorityAsALeaf) {
  Scene scene;
  certs::CertificateOptions leaf =
      certs::ClientOptions({"cart"}, scene.from, scene.until);
  EXPECT_EQ(scene.Why(scene.Chain(leaf)), "none");
  leaf.authority = true;
  EXPECT_EQ(scene.Why(scene.Chain(leaf)), "bad_leaf");
  leaf.key_usage |= certs::kKeyCertSign;
  EXPECT_EQ(scene.Why(scene.Chain(leaf)), "bad_leaf");
}

TEST(VerifierTest, RefusesALeafAsAnAuthority) {
  const Scene scene;
  certs::CertificateOptions below = scene.Svid("spiffe://prod/admin");
  below.common_name = "below";
  certs::CertificateOptions not_ca = scene.Svid(kCart);
  not_ca.common_name = "cart";
  certs::CertificateOptions ca = scene.AuthorityOptions("cart");
  const certs::Key key = MakeKey(certs::KeyType::kP256);
  const auto chain = [&](const certs::CertificateOptions& options) {
    return Must(Must(scene.root.MakeIntermediate(options, key)).Issue(below))
        .chain;
  };
  EXPECT_EQ(scene.Why(chain(ca)), "none");
  EXPECT_NE(scene.Why(chain(not_ca)), "none");
  not_ca.key_usage |= certs::kKeyCertSign;  // It still is no CA.
  EXPECT_EQ(scene.Why(chain(not_ca)), "bad_chain");
  ca.key_usage = certs::kCrlSign;  // It may not sign certificates.
  EXPECT_NE(scene.Why(chain(ca)), "none");
}

TEST(VerifierTest, RefusesWeakKeys) {
  const Scene scene;
  const certs::CertificateOptions leaf = scene.Svid(kCart);
  const auto why = [&](const certs::Key& key) {
    return scene.Why(Must(scene.root.Issue(leaf, key)).chain);
  };
  EXPECT_EQ(why(MakeKey(certs::KeyType::kRsa, 2048)), "none");
  EXPECT_EQ(why(MakeKey(certs::KeyType::kP384)), "none");
  EXPECT_EQ(why(MakeKey(certs::KeyType::kEd25519)), "none");
  EXPECT_EQ(why(MakeKey(certs::KeyType::kRsa, 1024)), "weak");
  EXPECT_EQ(why(MakeKey(certs::KeyType::kRsa, 2040)), "weak");
  EXPECT_EQ(why(CurveKey("prime256v1")), "none");
  EXPECT_EQ(why(CurveKey("secp256k1")), "weak");
  EXPECT_EQ(why(CurveKey("secp224r1")), "weak");
}

TEST(VerifierTest, RefusesExplicitCurveParameters) {
  const Scene scene;
  const std::string chain =
      Must(scene.root.Issue(scene.Svid(kCart), ExplicitCurveKey())).chain;
  const PeerVerdict verdict = scene.Judge(chain);
  EXPECT_EQ(verdict.refusal, PeerRefusal::kWeak) << verdict.text;
  EXPECT_EQ(scene.Why(Must(scene.root.Issue(scene.Svid(kCart),
                                            CurveKey("prime256v1")))
                          .chain),
            "none");
}

TEST(VerifierTest, RefusesAWeakIntermediate) {
  const Scene scene;
  const auto why = [&](certs::Digest digest, int bits) {
    certs::CertificateOptions options = scene.AuthorityOptions("middle");
    options.digest = digest;
    return scene.Why(
        Must(Must(scene.root.MakeIntermediate(
                      options, MakeKey(certs::KeyType::kRsa, bits)))
                 .Issue(scene.Svid(kCart)))
            .chain);
  };
  EXPECT_EQ(why(certs::Digest::kSha256, 2048), "none");
  EXPECT_EQ(why(certs::Digest::kSha384, 2048), "none");
  EXPECT_EQ(why(certs::Digest::kSha256, 1024), "weak");
  EXPECT_EQ(why(certs::Digest::kSha1, 2048), "weak");
}

TEST(VerifierTest, RefusesSha1) {
  Scene scene;
  certs::CertificateOptions leaf = scene.Svid(kCart);
  EXPECT_EQ(scene.Why(scene.Chain(leaf)), "none");
  leaf.digest = certs::Digest::kSha1;
  EXPECT_EQ(scene.Why(scene.Chain(leaf)), "weak");
  // Nobody relies on what a root says of itself.
  certs::CertificateOptions old = scene.AuthorityOptions("old");
  old.digest = certs::Digest::kSha1;
  scene.root =
      Must(certs::Authority::MakeRoot(old, MakeKey(certs::KeyType::kP256)));
  scene.bundles["prod"] = scene.root.pem();
  EXPECT_EQ(scene.Why(scene.Chain(scene.Svid(kCart))), "none");
}

TEST(VerifierTest, RefusesLongChains) {
  const Scene scene;
  certs::Authority authority = scene.root;
  for (int length = 2; length <= 40; ++length) {
    authority = scene.MakeBelow(authority, absl::StrCat("level ", length));
    if (length != 8 && length != 9 && length != 40) continue;
    const std::string chain = Must(authority.Issue(scene.Svid(kCart))).chain;
    EXPECT_EQ(scene.Why(chain), length == 8 ? "none" : "too_long") << length;
    EXPECT_EQ(scene.Why(DerOf(chain)), length == 8 ? "none" : "too_long");
  }
}

TEST(VerifierTest, HoldsAnAuthorityToItsPathLength) {
  const Scene scene;
  certs::CertificateOptions options = scene.AuthorityOptions("upper");
  const certs::Key key = MakeKey(certs::KeyType::kP256);
  const auto why = [&](int path_length) {
    options.path_length = path_length;
    const certs::Authority upper =
        Must(scene.root.MakeIntermediate(options, key));
    const certs::Authority lower = scene.MakeBelow(upper, "lower");
    return scene.Why(Must(lower.Issue(scene.Svid(kCart))).chain);
  };
  EXPECT_EQ(why(1), "none");
  EXPECT_EQ(why(0), "bad_chain");
}

TEST(VerifierTest, MakesNoPolicyTree) {
  const Scene scene;
  const auto why = [&](const std::vector<certs::Extension>& extensions) {
    certs::CertificateOptions options = scene.AuthorityOptions("middle");
    options.extensions = extensions;
    return scene.Why(Must(Must(scene.root.MakeIntermediate(
                                   options, MakeKey(certs::KeyType::kP256)))
                              .Issue(scene.Svid(kCart)))
                         .chain);
  };
  const std::string one = testing::DerOid("1.3.6.1.4.1.99999.1");
  const std::string two = testing::DerOid("1.3.6.1.4.1.99999.2");
  std::string policies;
  std::string mappings;
  for (int i = 0; i < 100; ++i) {
    const std::string policy =
        testing::DerOid(absl::StrCat("1.3.6.1.4.1.99999.3.", i));
    policies += Der(kSequence, policy);
    mappings += Der(kSequence, policy + one) + Der(kSequence, policy + two);
  }
  const certs::Extension named = {"2.5.29.32", false, Der(kSequence, policies)};
  EXPECT_EQ(why({}), "none");
  EXPECT_EQ(why({named}), "none");
  EXPECT_EQ(why({named, {"2.5.29.33", false, Der(kSequence, mappings)}}),
            "bad_chain");
  EXPECT_EQ(why({{"2.5.29.36", true, Der(kSequence, Der(0x80, "\1"))}}),
            "bad_chain");
  EXPECT_EQ(why({{"2.5.29.54", true, Der(0x02, "\1")}}), "bad_chain");
}

TEST(VerifierTest, RefusesACriticalExtensionThatItDoesNotKnow) {
  const Scene scene;
  certs::CertificateOptions leaf = scene.Svid(kCart);
  leaf.extensions = {{"1.3.6.1.4.1.99999.1", false, Der(0x05, "")}};
  EXPECT_EQ(scene.Why(scene.Chain(leaf)), "none");
  leaf.extensions[0].critical = true;
  EXPECT_EQ(scene.Why(scene.Chain(leaf)), "bad_chain");
}

TEST(VerifierTest, RefusesAnExtensionThatComesTwice) {
  const Scene scene;
  certs::CertificateOptions leaf = scene.Svid(kCart);
  leaf.extensions = {{"1.3.6.1.4.1.99999.1", false, Der(0x05, "")}};
  EXPECT_EQ(scene.Why(scene.Chain(leaf)), "none");
  leaf.extensions.push_back(leaf.extensions[0]);
  EXPECT_EQ(scene.Why(scene.Chain(leaf)), "malformed");
}

TEST(VerifierTest, DoesNotTrustTheOrderOfAChain) {
  const Scene scene;
  const certs::Authority upper = scene.MakeBelow(scene.root, "upper");
  const certs::Authority lower = scene.MakeBelow(upper, "lower");
  const certs::Key key = MakeKey(certs::KeyType::kP256);
  const std::string leaf = Must(lower.Certify(scene.Svid(kCart), key));
  const std::string stranger = scene.MakeRoot("stranger").pem();
  const std::string u = upper.pem();
  const std::string l = lower.pem();
  EXPECT_EQ(scene.Why(leaf + l + u), "none");
  EXPECT_EQ(scene.Why(leaf + u + l), "none");
  EXPECT_EQ(scene.Why(leaf + stranger + u + u + scene.root.pem() + l + l),
            "none");
  EXPECT_EQ(scene.Why(leaf + l), "unknown_authority");
  EXPECT_EQ(scene.Why(leaf + u), "unknown_authority");
  // The first one is the peer, and what it can prove to be.
  EXPECT_EQ(scene.Why(l + leaf + u), "bad_leaf");
}

TEST(VerifierTest, FindsTheChainThatHoldsAmongSeveral) {
  Scene scene;
  const certs::Authority second = scene.MakeRoot("root");
  const certs::Key key = MakeKey(certs::KeyType::kP256);
  certs::CertificateOptions options = scene.AuthorityOptions("middle");
  const certs::Authority by_first =
      Must(scene.root.MakeIntermediate(options, key));
  const certs::Authority by_second =
      Must(second.MakeIntermediate(options, key));
  options.not_after = scene.now - absl::Hours(1);
  const certs::Authority old = Must(second.MakeIntermediate(options, key));
  const std::string leaf =
      Must(by_first.Certify(scene.Svid(kCart), MakeKey(certs::KeyType::kP256)));
  const std::string a = by_first.pem();
  const std::string b = by_second.pem();
  const std::string c = old.pem();
  for (const std::string& chain :
       {leaf + a + b + c, leaf + c + b + a, leaf + b + c + a}) {
    scene.bundles["prod"] = scene.root.pem();
    EXPECT_EQ(scene.Why(chain), "none");
    scene.bundles["prod"] = second.pem();
    EXPECT_EQ(scene.Why(chain), "none");
  }
  EXPECT_EQ(scene.Why(leaf + a + c), "expired");
  EXPECT_EQ(scene.Why(leaf + c + a), "expired");
}

TEST(VerifierTest, FindsAnAuthorityAmongManyOfOneName) {
  Scene scene;
  std::string bundle;
  for (int i = 0; i < 100; ++i) bundle += scene.MakeRoot("root").pem();
  scene.bundles["prod"] = bundle;
  const std::string chain = scene.Chain(scene.Svid(kCart));
  EXPECT_EQ(scene.Why(chain), "unknown_authority");
  scene.bundles["prod"] = bundle + scene.root.pem();
  EXPECT_EQ(scene.Why(chain), "none");
}

TEST(VerifierTest, TheWorkOfAChainIsBounded) {
  Scene scene;
  // Authorities of one key and one name that all could sign each other, so that
  // there are 7! orders.
  const certs::Key key = MakeKey(certs::KeyType::kP256);
  const certs::CertificateOptions loop = scene.AuthorityOptions("loop");
  const certs::Authority stranger = Must(certs::Authority::MakeRoot(loop, key));
  std::string chain =
      Must(stranger.Certify(scene.Svid(kCart), MakeKey(certs::KeyType::kP256)));
  for (int i = 0; i < 7; ++i) {
    chain += Must(stranger.MakeIntermediate(loop, key)).pem();
  }
  EXPECT_EQ(scene.Why(chain), "unknown_authority");
  scene.bundles["prod"] = stranger.pem();
  EXPECT_EQ(scene.Why(chain), "none");
  // And each of these chains fails, at the end that is looked at last.
  certs::CertificateOptions wrong = scene.Svid(kCart);
  wrong.not_after = scene.now - absl::Hours(1);
  const std::string rest = chain.substr(chain.find("-----BEGIN", 1));
  EXPECT_EQ(scene.Why(Must(stranger.Certify(wrong, key)) + rest), "expired");
}

TEST(VerifierTest, LeavesNoErrorOfOpenSslBehind) {
  const Scene scene;
  ERR_clear_error();
  scene.Why(scene.Chain(scene.Svid(kCart)));
  scene.Why("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
  EXPECT_EQ(ERR_peek_error(), 0u);
  ERR_raise(ERR_LIB_SSL, 1);
  scene.Why("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
  EXPECT_NE(ERR_peek_error(), 0u) << "one from before";
  ERR_clear_error();
}

TEST(VerifierTest, EachRefusalHasANameOfItsOwn) {
  std::vector<std::string> names;
  for (int i = 0; i <= static_cast<int>(PeerRefusal::kNotAllowed); ++i) {
    names.emplace_back(PeerRefusalName(static_cast<PeerRefusal>(i)));
    EXPECT_NE(names.back(), "unknown");
  }
  std::sort(names.begin(), names.end());
  EXPECT_EQ(std::unique(names.begin(), names.end()), names.end());
}

}  // namespace
}  // namespace mesh::security
