#include "mesh/certs/authority.h"

#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "openssl/bio.h"
#include "openssl/evp.h"
#include "openssl/pem.h"
#include "openssl/x509.h"
#include "openssl/x509_vfy.h"
#include "openssl/x509v3.h"

namespace mesh::certs {
namespace {

const absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);
const absl::Time kLater = kNow + absl::Hours(1);

std::shared_ptr<X509> Parse(const std::string& pem) {
  BIO* const bio = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
  X509* const made = PEM_read_bio_X509(bio, nullptr, nullptr, nullptr);
  BIO_free(bio);
  return {made, &X509_free};
}

std::shared_ptr<X509_CRL> ParseCrl(const std::string& pem) {
  BIO* const bio = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
  X509_CRL* const made = PEM_read_bio_X509_CRL(bio, nullptr, nullptr, nullptr);
  BIO_free(bio);
  return {made, &X509_CRL_free};
}

// What OpenSSL says of a leaf below `root` at kNow. X509_V_OK: it is good.
int Verify(const Authority& root, const std::vector<std::string>& between,
           const std::string& leaf, int purpose,
           const std::vector<std::string>& crls = {}) {
  X509_STORE* const store = X509_STORE_new();
  X509_STORE_add_cert(store, Parse(root.pem()).get());
  for (const std::string& crl : crls) {
    X509_STORE_add_crl(store, ParseCrl(crl).get());
  }
  STACK_OF(X509)* const untrusted = sk_X509_new_null();
  std::vector<std::shared_ptr<X509>> kept;
  for (const std::string& pem : between) {
    kept.push_back(Parse(pem));
    sk_X509_push(untrusted, kept.back().get());
  }
  const std::shared_ptr<X509> parsed = Parse(leaf);
  X509_STORE_CTX* const context = X509_STORE_CTX_new();
  X509_STORE_CTX_init(context, store, parsed.get(), untrusted);
  X509_STORE_CTX_set_purpose(context, purpose);
  X509_STORE_CTX_set_time(context, 0, absl::ToTimeT(kNow));
  X509_VERIFY_PARAM_set_flags(
      X509_STORE_CTX_get0_param(context),
      X509_V_FLAG_X509_STRICT |
          (crls.empty() ? 0
                        : X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL));
  X509_verify_cert(context);
  const int error = X509_STORE_CTX_get_error(context);
  X509_STORE_CTX_free(context);
  sk_X509_free(untrusted);
  X509_STORE_free(store);
  return error;
}

Authority Root(KeyType type = KeyType::kP256) {
  return *Authority::MakeRoot(AuthorityOptions("root", kNow, kLater),
                              *Key::Make(type));
}

TEST(AuthorityTest, IssuesWhatOpenSslVerifiesWithEveryKindOfKey) {
  for (const KeyType type :
       {KeyType::kP256, KeyType::kP384, KeyType::kRsa, KeyType::kEd25519}) {
    const Authority root = Root(type);
    const Key key = *Key::Make(type);
    for (const auto& [options, purpose] :
         {std::make_pair(SvidOptions("spiffe://prod/cart", kNow, kLater),
                         X509_PURPOSE_SSL_SERVER),
          std::make_pair(ServerOptions({"cart.prod"}, kNow, kLater),
                         X509_PURPOSE_SSL_SERVER),
          std::make_pair(ClientOptions({"cart.prod"}, kNow, kLater),
                         X509_PURPOSE_SSL_CLIENT)}) {
      const auto issued = root.Issue(options, key);
      ASSERT_TRUE(issued.ok()) << issued.status();
      EXPECT_EQ(Verify(root, {}, issued->chain, purpose), X509_V_OK);
      const std::shared_ptr<X509> leaf = Parse(issued->chain);
      EXPECT_EQ(
          X509_check_private_key(leaf.get(), Key::Parse(issued->key)->get()),
          1);
    }
  }
}

TEST(AuthorityTest, ServersAreNoClients) {
  const Authority root = Root();
  const auto server = root.Issue(ServerOptions({"a"}, kNow, kLater));
  EXPECT_EQ(Verify(root, {}, server->chain, X509_PURPOSE_SSL_CLIENT),
            X509_V_ERR_INVALID_PURPOSE);
  const auto client = root.Issue(ClientOptions({"a"}, kNow, kLater));
  EXPECT_EQ(Verify(root, {}, client->chain, X509_PURPOSE_SSL_SERVER),
            X509_V_ERR_INVALID_PURPOSE);
}

TEST(AuthorityTest, IntermediatesStandBehindTheLeafAndTheRootDoesNot) {
  const Authority root = Root();
  const auto middle = root.MakeIntermediate(
      AuthorityOptions("middle", kNow, kLater), *Key::Make(KeyType::kP384));
  ASSERT_TRUE(middle.ok()) << middle.status();
  const auto low = middle->MakeIntermediate(
      AuthorityOptions("low", kNow, kLater), *Key::Make(KeyType::kEd25519));
  ASSERT_TRUE(low.ok()) << low.status();
  const auto leaf = low->Issue(SvidOptions("spiffe://prod/x", kNow, kLater));
  ASSERT_TRUE(leaf.ok()) << leaf.status();
  EXPECT_EQ(low->IntermediatesPem(), low->pem() + middle->pem());
  EXPECT_EQ(low->AllPem(), low->pem() + middle->pem() + root.pem());
  EXPECT_EQ(low->root_pem(), root.pem());
  EXPECT_THAT(leaf->chain, testing::EndsWith(low->IntermediatesPem()));
  EXPECT_EQ(Verify(root, {low->pem(), middle->pem()}, leaf->chain,
                   X509_PURPOSE_SSL_SERVER),
            X509_V_OK);
  EXPECT_EQ(Verify(root, {low->pem()}, leaf->chain, X509_PURPOSE_SSL_SERVER),
            X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY);
}

TEST(AuthorityTest, OneThatIsLoadedSignsAsItDidBefore) {
  const Authority root = Root();
  const auto middle = root.MakeIntermediate(
      AuthorityOptions("middle", kNow, kLater), *Key::Make(KeyType::kP256));
  const auto again = Authority::Load(middle->AllPem(), middle->key().Pem());
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->AllPem(), middle->AllPem());
  const auto leaf = again->Issue(SvidOptions("spiffe://prod/x", kNow, kLater));
  EXPECT_EQ(Verify(root, {middle->pem()}, leaf->chain, X509_PURPOSE_SSL_CLIENT),
            X509_V_OK);
  EXPECT_EQ(Authority::Load(root.pem(), middle->key().Pem()).status().message(),
            "the key is not that of the first certificate.");
  EXPECT_FALSE(Authority::Load("", root.key().Pem()).ok());
  EXPECT_FALSE(Authority::Load(root.pem(), "no key").ok());
}

TEST(AuthorityTest, DatesAreThoseAsked) {
  const Authority root = Root();
  const auto expired = root.Certify(
      SvidOptions("spiffe://a/b", kNow - absl::Hours(2), kNow - absl::Hours(1)),
      root.key());
  EXPECT_EQ(Verify(root, {}, *expired, X509_PURPOSE_SSL_SERVER),
            X509_V_ERR_CERT_HAS_EXPIRED);
  const auto future = root.Certify(
      SvidOptions("spiffe://a/b", kNow + absl::Hours(1), kNow + absl::Hours(2)),
      root.key());
  EXPECT_EQ(Verify(root, {}, *future, X509_PURPOSE_SSL_SERVER),
            X509_V_ERR_CERT_NOT_YET_VALID);
}

TEST(AuthorityTest, NamesStandAsTheirBytesAre) {
  const Authority root = Root();
  CertificateOptions options =
      SvidOptions(absl::string_view("spiffe://td/c\0.evil", 19), kNow, kLater);
  options.names.push_back({AltName::Type::kDns, "cart.prod"});
  options.names.push_back({AltName::Type::kIp, std::string("\x0a\0\0\7", 4)});
  options.names.push_back({AltName::Type::kEmail, "a@b"});
  const std::shared_ptr<X509> leaf = Parse(*root.Certify(options, root.key()));
  auto* const names = static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(leaf.get(), NID_subject_alt_name, nullptr, nullptr));
  ASSERT_NE(names, nullptr);
  std::vector<std::pair<int, std::string>> found;
  for (int i = 0; i < sk_GENERAL_NAME_num(names); ++i) {
    int type = 0;
    auto* const text = static_cast<ASN1_STRING*>(
        GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, i), &type));
    found.emplace_back(
        type,
        std::string(reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
                    ASN1_STRING_length(text)));
  }
  GENERAL_NAMES_free(names);
  EXPECT_THAT(found, testing::ElementsAre(
                         testing::Pair(GEN_URI,
                                       std::string("spiffe://td/c\0.evil", 19)),
                         testing::Pair(GEN_DNS, "cart.prod"),
                         testing::Pair(GEN_IPADD, std::string("\x0a\0\0\7", 4)),
                         testing::Pair(GEN_EMAIL, "a@b")));
}

TEST(AuthorityTest, BadOptionsSayWhatIsWrong) {
  const Authority root = Root();
  CertificateOptions options = SvidOptions("spiffe://a/b", kNow, kLater);
  options.serial = "12g";
  EXPECT_EQ(root.Issue(options).status().message(),
            "the serial number \"12g\" must be hex digits.");
  options.serial = "0f";
  EXPECT_EQ(root.Issue(options)->serial, "0f");
  options.purposes = {"no such purpose"};
  EXPECT_FALSE(root.Issue(options).ok());
  options.purposes = {};
  options.extensions = {{"not an oid", false, ""}};
  EXPECT_FALSE(root.Issue(options).ok());
  options.extensions = {};
  options.names = {{AltName::Type::kIp, "abc"}};
  EXPECT_FALSE(root.Issue(options).ok());
  options.names = {};
  options.common_name = std::string(65, 'x');
  EXPECT_FALSE(root.Issue(options).ok());
  EXPECT_FALSE(root.MakeCrl({kNow, kLater, 1, {"xyz"}}).ok());
}

TEST(AuthorityTest, SerialNumbersDiffer) {
  const Authority root = Root();
  const CertificateOptions options = SvidOptions("spiffe://a/b", kNow, kLater);
  EXPECT_NE(root.Issue(options)->serial, root.Issue(options)->serial);
}

TEST(AuthorityTest, AListRevokesWhatItNamesAndNothingElse) {
  const Authority root = Root();
  const CertificateOptions options = SvidOptions("spiffe://a/b", kNow, kLater);
  const auto bad = root.Issue(options);
  const auto good = root.Issue(options);
  const auto crl = root.MakeCrl({kNow, kLater, 7, {"01", bad->serial, "ff"}});
  ASSERT_TRUE(crl.ok()) << crl.status();
  EXPECT_EQ(Verify(root, {}, bad->chain, X509_PURPOSE_SSL_SERVER, {*crl}),
            X509_V_ERR_CERT_REVOKED);
  EXPECT_EQ(Verify(root, {}, good->chain, X509_PURPOSE_SSL_SERVER, {*crl}),
            X509_V_OK);
  const auto old = root.MakeCrl({kNow - absl::Hours(2), kNow - absl::Hours(1)});
  EXPECT_EQ(Verify(root, {}, good->chain, X509_PURPOSE_SSL_SERVER, {*old}),
            X509_V_ERR_CRL_HAS_EXPIRED);
  // Another authority of the same name.
  const auto forged = Root().MakeCrl({kNow, kLater});
  EXPECT_NE(Verify(root, {}, good->chain, X509_PURPOSE_SSL_SERVER, {*forged}),
            X509_V_OK);
}

}  // namespace
}  // namespace mesh::certs
