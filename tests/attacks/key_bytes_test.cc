#include "tests/attacks/key_bytes.h"

#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gtest/gtest.h"
#include "mesh/certs/authority.h"
#include "mesh/security/crypto_ptr.h"
#include "openssl/core_names.h"
#include "openssl/x509.h"

namespace mesh::test {
namespace {

certs::Key NewKey(certs::KeyType type) { return *certs::Key::Make(type); }

std::string DerOf(const certs::Key& key) {
  unsigned char* bytes = nullptr;
  const int size = i2d_PrivateKey(key.get(), &bytes);
  std::string der(reinterpret_cast<const char*>(bytes), size);
  OPENSSL_free(bytes);
  return der;
}

// The private number of a P-256 key: 32 bytes.
std::string NumberOf(const certs::Key& key) {
  BIGNUM* number = nullptr;
  EVP_PKEY_get_bn_param(key.get(), OSSL_PKEY_PARAM_PRIV_KEY, &number);
  std::string bytes(32, '\0');
  BN_bn2binpad(number, reinterpret_cast<unsigned char*>(bytes.data()), 32);
  BN_free(number);
  return bytes;
}

std::string WithColons(const std::string& hex) {
  std::string text;
  for (size_t i = 0; i < hex.size(); i += 2) {
    absl::StrAppend(&text, i == 0 ? "" : ":", hex.substr(i, 2));
  }
  return text;
}

TEST(KeyBytesTest, FindsAKeyOfEachTypeHoweverItIsWritten) {
  for (const certs::KeyType type : {certs::KeyType::kP256, certs::KeyType::kRsa,
                                    certs::KeyType::kEd25519}) {
    SCOPED_TRACE(static_cast<int>(type));
    const certs::Key key = NewKey(type);
    const KeyBytes bytes(key.Pem());
    const std::string der = DerOf(key);
    const std::string hex = absl::BytesToHexString(der);
    EXPECT_EQ(bytes.FoundIn(absl::StrCat("log: ", key.Pem(), "\nend")),
              "base64");
    EXPECT_EQ(bytes.FoundIn(absl::StrReplaceAll(key.Pem(), {{"\n", "\\n"}})),
              "base64");
    EXPECT_EQ(bytes.FoundIn(absl::Base64Escape(der)), "base64");
    EXPECT_EQ(bytes.FoundIn(absl::WebSafeBase64Escape(der)), "base64");
    EXPECT_EQ(bytes.FoundIn(absl::Base64Escape("x" + der)), "base64");
    EXPECT_EQ(bytes.FoundIn(hex), "hex");
    EXPECT_EQ(bytes.FoundIn(absl::AsciiStrToUpper(hex)), "hex");
    EXPECT_EQ(bytes.FoundIn(WithColons(hex)), "hex");
    EXPECT_EQ(bytes.FoundIn(der), "raw");
  }
}

TEST(KeyBytesTest, FindsAPartOfAKey) {
  const certs::Key key = NewKey(certs::KeyType::kP256);
  const KeyBytes bytes(key.Pem());
  const std::string number = NumberOf(key);
  for (size_t i = 0; i + 16 <= number.size(); ++i) {
    const std::string part = number.substr(i, 16);
    EXPECT_EQ(bytes.FoundIn("key=" + part + "."), "raw") << i;
    EXPECT_EQ(bytes.FoundIn(absl::BytesToHexString(part)), "hex") << i;
    for (const char* const before : {"", "a", "ab"}) {
      EXPECT_EQ(bytes.FoundIn(absl::Base64Escape(absl::StrCat(before, part))),
                "base64");
    }
  }
}

TEST(KeyBytesTest, FindsNothingInWhatIsNoSecret) {
  const certs::Key key = NewKey(certs::KeyType::kP256);
  const KeyBytes bytes(key.Pem());
  const absl::Time now = absl::Now();
  const certs::Authority root = *certs::Authority::MakeRoot(
      certs::AuthorityOptions("root", now, now + absl::Hours(1)), key);
  EXPECT_EQ(bytes.FoundIn(""), "");
  EXPECT_EQ(bytes.FoundIn(root.pem()), "") << "the certificate of that key";
  EXPECT_EQ(bytes.FoundIn(NewKey(certs::KeyType::kP256).Pem()), "")
      << "another key, whose PEM begins as this one's";
}

TEST(KeyBytesTest, OutputsTellWhichTextHasAKey) {
  const certs::Key key = NewKey(certs::KeyType::kEd25519);
  Outputs outputs;
  outputs.AddKey(NewKey(certs::KeyType::kP256).Pem());
  outputs.AddKey(key.Pem());
  outputs.Add("an error about a key");
  outputs.Add("");
  EXPECT_EQ(outputs.size(), 1u);
  EXPECT_TRUE(outputs.Leaks().empty());
  outputs.Add("config: " + key.Pem());
  const std::vector<std::string> leaks = outputs.Leaks();
  ASSERT_EQ(leaks.size(), 1u);
  EXPECT_EQ(leaks[0].find("text 2 of "), 0u) << leaks[0];
  EXPECT_EQ(KeyBytes(key.Pem()).FoundIn(leaks[0]), "");
}

}  // namespace
}  // namespace mesh::test
