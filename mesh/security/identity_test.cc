#include "mesh/security/identity.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/certs/authority.h"
#include "mesh/security/testing/certificates.h"
#include "openssl/pem.h"

namespace mesh::security {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::Must;
using testing::Scene;

constexpr char kCart[] = "spiffe://prod/cart";

class IdentityTest : public ::testing::Test {
 protected:
  IdentityTest() {
    middle_options_.not_after = scene_.now + absl::Hours(10);
    leaf_.not_after = scene_.now + absl::Hours(5);
  }

  certs::Authority Middle() const {
    return Must(scene_.root.MakeIntermediate(middle_options_, key_));
  }
  // Good but for what a test has changed.
  IdentityBytes Bytes() const {
    certs::Issued issued = Must(Middle().Issue(leaf_, key_));
    IdentityBytes bytes;
    bytes.chain = std::move(issued.chain);
    bytes.key = std::move(issued.key);
    bytes.bundles = {{"prod", scene_.root.pem()}};
    return bytes;
  }
  IdentityPtr Made(IdentityBytes bytes) const {
    return Must(Identity::Make(std::move(bytes), scene_.now));
  }
  std::string Why(IdentityBytes bytes,
                  absl::StatusCode code = absl::StatusCode::kInvalidArgument) {
    const std::string key = bytes.key;
    const auto identity = Identity::Make(std::move(bytes), scene_.now);
    if (identity.ok()) return "good";
    EXPECT_EQ(identity.status().code(), code);
    const std::string text(identity.status().message());
    // No line of the key, and no text that stands in one.
    if (key.size() > 100) {
      EXPECT_EQ(text.find(key.substr(40, 20)), std::string::npos);
    }
    return text;
  }
  std::string WhyLeaf(const certs::CertificateOptions& leaf) {
    IdentityBytes bytes = Bytes();
    bytes.chain = Must(Middle().Issue(leaf, key_)).chain;
    return Why(std::move(bytes));
  }

  Scene scene_;
  const certs::Key key_ = Must(certs::Key::Make(certs::KeyType::kP256));
  certs::CertificateOptions middle_options_ = scene_.AuthorityOptions("middle");
  certs::CertificateOptions leaf_ = scene_.Svid(kCart);
};

TEST_F(IdentityTest, TellsWhatAGoodOneIs) {
  leaf_.serial = "0abc";
  leaf_.not_before = scene_.now - absl::Hours(1);
  const IdentityPtr identity = Made(Bytes());
  ASSERT_TRUE(identity->spiffe_id().has_value());
  EXPECT_EQ(identity->spiffe_id()->text(), kCart);
  EXPECT_EQ(identity->serial(), "0abc");
  EXPECT_EQ(identity->not_before(), leaf_.not_before);
  EXPECT_EQ(identity->not_after(), leaf_.not_after);
  EXPECT_TRUE(identity->is_trusted_by_itself());
  EXPECT_THAT(identity->warnings(), IsEmpty());
  EXPECT_NE(identity->trust().ForDomain("prod"), nullptr);
}

TEST_F(IdentityTest, MayShowNothing) {
  IdentityBytes bytes;
  bytes.bundles = {{"prod", scene_.root.pem()}};
  const IdentityPtr identity = Made(bytes);
  EXPECT_FALSE(identity->spiffe_id().has_value());
  EXPECT_EQ(identity->serial(), "");
  EXPECT_EQ(identity->not_before(), absl::InfinitePast());
  EXPECT_EQ(identity->not_after(), absl::InfiniteFuture());
  EXPECT_EQ(*Identity::NotBefore(bytes), absl::InfinitePast());
}

TEST_F(IdentityTest, MayTrustNobody) {
  IdentityBytes bytes = Bytes();
  bytes.bundles.clear();
  const IdentityPtr identity = Made(bytes);
  EXPECT_EQ(identity->trust().ForDomain("prod"), nullptr);
  EXPECT_THAT(identity->warnings(), IsEmpty());
  EXPECT_FALSE(identity->is_trusted_by_itself());
  EXPECT_EQ(Made({})->trust().AllPem(), "");
}

TEST_F(IdentityTest, HasNoNul) {
  const std::string nul(1, '\0');
  IdentityBytes bytes = Bytes();
  bytes.chain = nul + bytes.chain;
  EXPECT_EQ(Why(bytes), "chain: it has a NUL byte, as no PEM has.");
  bytes = Bytes();
  bytes.key += nul;
  EXPECT_EQ(Why(bytes), "key: it has a NUL byte, as no PEM has.");
  bytes = Bytes();
  bytes.bundles["prod"] = nul + "\n" + bytes.bundles["prod"];
  EXPECT_EQ(Made(bytes)->trust().AllPem(), scene_.root.pem()) << "no harm";
}

TEST_F(IdentityTest, HasChainAndKeyOrNeither) {
  EXPECT_EQ(Why(Bytes()), "good");
  IdentityBytes bytes = Bytes();
  bytes.key = "";
  EXPECT_THAT(Why(bytes), HasSubstr("key: it is empty"));
  bytes = Bytes();
  bytes.chain = "";
  EXPECT_THAT(Why(bytes), HasSubstr("chain: it is empty"));
  bytes = Bytes();
  bytes.chain = "words";
  EXPECT_THAT(Why(bytes), HasSubstr("chain: it has no certificate"));
  bytes = Bytes();
  bytes.chain.resize(bytes.chain.size() / 3);
  EXPECT_THAT(Why(bytes), HasSubstr("cut off"));
}

TEST_F(IdentityTest, HasTheKeyOfItsLeaf) {
  IdentityBytes bytes = Bytes();
  EXPECT_EQ(Why(bytes), "good");
  bytes.key = Must(certs::Key::Make(certs::KeyType::kP256)).Pem();
  EXPECT_THAT(Why(bytes), HasSubstr("key: it is not that of"));
  bytes.key = Must(certs::Key::Make(certs::KeyType::kRsa)).Pem();
  EXPECT_THAT(Why(bytes), HasSubstr("key: it is not that of"));
  bytes.key = bytes.chain;
  EXPECT_THAT(Why(bytes), HasSubstr("key: it has no private key"));
  bytes.key = key_.Pem().substr(0, 100);
  EXPECT_THAT(Why(bytes), HasSubstr("key: it has no private key"));
  bytes.key = std::string((1 << 20) + 1, '\n');
  EXPECT_THAT(Why(bytes), HasSubstr("more than 1 MiB"));
}

TEST_F(IdentityTest, AnEncryptedKeyIsAnErrorOfItsOwn) {
  IdentityBytes bytes = Bytes();
  const BioPtr bio(BIO_new(BIO_s_mem()));
  char password[] = "secret";
  ASSERT_EQ(
      PEM_write_bio_PKCS8PrivateKey(bio.get(), key_.get(), EVP_aes_128_cbc(),
                                    password, 6, nullptr, nullptr),
      1);
  char* text = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &text);  // NOLINT
  bytes.key.assign(text, size);
  EXPECT_THAT(Why(bytes), HasSubstr("key: it is encrypted"));
  bytes.key = key_.Pem();
  EXPECT_EQ(Why(bytes), "good");
}

TEST_F(IdentityTest, ChainAndKeyMayStandInOneFile) {
  IdentityBytes bytes = Bytes();
  bytes.chain = bytes.key + bytes.chain;
  bytes.key = bytes.chain;
  EXPECT_EQ(Why(bytes), "good");
}

TEST_F(IdentityTest, EachCertificateIsSignedByTheNext) {
  IdentityBytes bytes = Bytes();
  const std::string leaf = Must(Middle().Certify(leaf_, key_));
  const std::string middle = Middle().pem();
  bytes.chain = leaf + middle + scene_.root.pem();
  EXPECT_EQ(Why(bytes), "good") << "with the root";
  bytes.chain = leaf + scene_.root.pem();
  EXPECT_THAT(Why(bytes), HasSubstr("certificate 1 is not signed by the next"));
  bytes.chain = leaf + middle + middle;
  EXPECT_THAT(Why(bytes), HasSubstr("certificate 2 is not signed by the next"));
  // It has the same name.
  bytes.chain = leaf + scene_.MakeBelow(scene_.root, "middle").pem();
  EXPECT_THAT(Why(bytes), HasSubstr("certificate 1 is not signed by the next"));
  bytes.chain = middle + leaf;
  EXPECT_NE(Why(bytes), "good");
}

TEST_F(IdentityTest, AChainHasAtMost8Certificates) {
  IdentityBytes bytes = Bytes();
  certs::Authority authority = scene_.root;
  for (int i = 0; i < 7; ++i) {
    authority = scene_.MakeBelow(authority, absl::StrCat("level ", i));
  }
  bytes.chain = Must(authority.Issue(leaf_, key_)).chain;
  EXPECT_EQ(Why(bytes), "good");
  authority = scene_.MakeBelow(authority, "level 8");
  bytes.chain = Must(authority.Issue(leaf_, key_)).chain;
  EXPECT_THAT(Why(bytes), HasSubstr("chain: there are more than 8"));
}

TEST_F(IdentityTest, IsNotExpired) {
  leaf_.not_after = scene_.now + absl::Seconds(1);
  EXPECT_EQ(Why(Bytes()), "good");
  leaf_.not_after = scene_.now;
  EXPECT_THAT(Why(Bytes()),
              HasSubstr("expired at 2030-03-17T17:46:40Z, and now it is "
                        "2030-03-17T17:46:40Z."));
  leaf_.not_after = scene_.now + absl::Hours(1);
  middle_options_.not_after = scene_.now - absl::Hours(1);
  EXPECT_THAT(Why(Bytes()), HasSubstr("expired at 2030-03-17T16:46:40Z"));
}

TEST_F(IdentityTest, OneThatIsNotValidYetSaysWhenItIs) {
  leaf_.not_before = scene_.now + absl::Hours(1);
  const IdentityBytes bytes = Bytes();
  EXPECT_THAT(Why(bytes, absl::StatusCode::kFailedPrecondition),
              HasSubstr("valid from 2030-03-17T18:46:40Z on"));
  EXPECT_EQ(*Identity::NotBefore(bytes), leaf_.not_before);
  scene_.now = *Identity::NotBefore(bytes);
  EXPECT_EQ(Why(bytes), "good");
  // What is wrong for good goes first.
  scene_.now -= absl::Hours(1);
  IdentityBytes wrong = bytes;
  wrong.key = Must(certs::Key::Make(certs::KeyType::kP256)).Pem();
  EXPECT_THAT(Why(wrong), HasSubstr("key: it is not that of"));
  wrong.chain = "-----BEGIN";
  EXPECT_EQ(Identity::NotBefore(wrong).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(IdentityTest, IsStrong) {
  IdentityBytes bytes = Bytes();
  const auto why = [&](const certs::Key& key) {
    certs::Issued issued = Must(Middle().Issue(leaf_, key));
    bytes.chain = issued.chain;
    bytes.key = issued.key;
    return Why(bytes);
  };
  EXPECT_EQ(why(Must(certs::Key::Make(certs::KeyType::kRsa, 2048))), "good");
  EXPECT_EQ(why(Must(certs::Key::Make(certs::KeyType::kP384))), "good");
  EXPECT_EQ(why(Must(certs::Key::Make(certs::KeyType::kEd25519))), "good");
  EXPECT_THAT(why(Must(certs::Key::Make(certs::KeyType::kRsa, 1024))),
              HasSubstr("certificate 1 has an RSA key of 1024 bits"));
  EXPECT_THAT(why(testing::ExplicitCurveKey()),
              HasSubstr("explicit curve parameters"));
  EXPECT_THAT(why(testing::CurveKey("secp521r1")), HasSubstr("another curve"));
  leaf_.digest = certs::Digest::kSha1;
  EXPECT_THAT(Why(Bytes()), HasSubstr("certificate 1 is signed with a weaker"));
}

TEST_F(IdentityTest, ASpiffeLeafIsAnSvid) {
  EXPECT_EQ(WhyLeaf(leaf_), "good");
  certs::CertificateOptions leaf = leaf_;
  leaf.names.push_back(leaf.names[0]);
  EXPECT_THAT(WhyLeaf(leaf), HasSubstr("has 2 URIs"));
  leaf = leaf_;
  leaf.names[0].bytes = "spiffe://prod/Cart/";
  EXPECT_THAT(WhyLeaf(leaf), HasSubstr("is no SPIFFE ID"));
  leaf.names[0].bytes = "spiffe://prod";
  EXPECT_THAT(WhyLeaf(leaf), HasSubstr("names a trust domain"));
  leaf = leaf_;
  leaf.purposes = {"serverAuth"};
  EXPECT_THAT(WhyLeaf(leaf), HasSubstr("serverAuth and clientAuth"));
  leaf = certs::ServerOptions({"cart"}, scene_.from, scene_.until);
  EXPECT_EQ(WhyLeaf(leaf), "good");
}

TEST_F(IdentityTest, WarnsOfAChainThatItsOwnBundleDoesNotTrust) {
  IdentityBytes bytes = Bytes();
  EXPECT_THAT(Made(bytes)->warnings(), IsEmpty());
  bytes.bundles = {{"", scene_.root.pem()}};
  EXPECT_THAT(Made(bytes)->warnings(), IsEmpty());
  bytes.bundles = {{"prod", scene_.MakeRoot("other").pem()}};
  EXPECT_THAT(Made(bytes)->warnings(),
              ElementsAre(HasSubstr("does not lead to the bundle")));
  EXPECT_FALSE(Made(bytes)->is_trusted_by_itself());
  bytes.bundles = {};
  EXPECT_FALSE(Made(bytes)->is_trusted_by_itself());
}

TEST_F(IdentityTest, WarnsOfAnAuthorityThatEndsFirst) {
  middle_options_.not_after = leaf_.not_after - absl::Seconds(1);
  EXPECT_THAT(Made(Bytes())->warnings(),
              ElementsAre(HasSubstr("an authority ends at")));
  EXPECT_EQ(Made(Bytes())->not_after(), middle_options_.not_after);
  middle_options_.not_after = scene_.now + absl::Hours(200);
  leaf_.not_after = scene_.now + absl::Hours(100);
  EXPECT_THAT(Made(Bytes())->warnings(),
              ElementsAre(HasSubstr("an authority ends at")))
      << "the one in the bundle";
}

TEST_F(IdentityTest, WarnsOfALongLife) {
  IdentityBytes bytes = Bytes();
  certs::CertificateOptions root = scene_.AuthorityOptions("old");
  root.not_after = scene_.now + absl::Hours(1000 * 24);
  const certs::Authority authority =
      Must(certs::Authority::MakeRoot(root, key_));
  bytes.bundles = {{"prod", authority.pem()}};
  leaf_.not_after = leaf_.not_before + absl::Hours(366 * 24);
  bytes.chain = Must(authority.Issue(leaf_, key_)).chain;
  EXPECT_THAT(Made(bytes)->warnings(), IsEmpty());
  leaf_.not_after += absl::Hours(24);
  bytes.chain = Must(authority.Issue(leaf_, key_)).chain;
  EXPECT_THAT(Made(bytes)->warnings(),
              ElementsAre(HasSubstr("lives for 367 days")));
}

TEST_F(IdentityTest, ARenewalIsNoWithdrawal) {
  const IdentityBytes bytes = Bytes();
  const IdentityPtr before = Made(bytes);
  EXPECT_FALSE(before->WithdrawnBy(*Made(Bytes()))) << "a new leaf";
  IdentityBytes more = bytes;
  const std::string second = scene_.MakeRoot("second").pem();
  more.bundles["prod"] += second;
  EXPECT_FALSE(before->WithdrawnBy(*Made(more)));
  EXPECT_TRUE(Made(more)->WithdrawnBy(*before));
  IdentityBytes listed = bytes;
  listed.crls = {scene_.Crl(scene_.root)};
  EXPECT_TRUE(before->WithdrawnBy(*Made(listed)));
}

TEST_F(IdentityTest, APartThatIsWrongIsNamed) {
  IdentityBytes bytes = Bytes();
  bytes.bundles["other"] = "words";
  EXPECT_THAT(Why(bytes), HasSubstr("the bundle of \"other\": "));
  bytes = Bytes();
  bytes.crls = {scene_.Crl(scene_.root), "words"};
  EXPECT_THAT(Why(bytes), HasSubstr("the revocation lists, text 2: "));
  bytes.crls.pop_back();
  EXPECT_EQ(Why(bytes), "good");
}

}  // namespace
}  // namespace mesh::security
