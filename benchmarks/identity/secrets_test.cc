// The certificates and files that the benches of identities make, held against
// what mesh makes of them.

#include <string>

#include "absl/time/clock.h"
#include "benchmarks/identity/pki.h"
#include "benchmarks/identity/raw_tls.h"
#include "benchmarks/identity/secret_files.h"
#include "benchmarks/outages/world.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/security/identity.h"
#include "tests/process/process.h"

namespace mesh::benchmarks {
namespace {

absl::StatusOr<security::IdentityPtr> Made(const Secret& secret) {
  security::IdentityBytes bytes;
  bytes.chain = secret.chain;
  bytes.key = secret.key;
  bytes.bundles["bench"] = secret.bundle;
  return security::Identity::Make(std::move(bytes), absl::Now());
}

TEST(PkiTest, IssuesWholeIdentities) {
  const Pki pki;
  const Secret secret = pki.Issue("server");
  const auto identity = Made(secret);
  ASSERT_TRUE(identity.ok()) << identity.status();
  EXPECT_EQ((*identity)->serial(), secret.serial);
  EXPECT_EQ((*identity)->spiffe_id()->text(), "spiffe://bench/server");
  EXPECT_TRUE((*identity)->is_trusted_by_itself());
  EXPECT_THAT((*identity)->warnings(), testing::IsEmpty());
}

TEST(PkiTest, IssuesBadOnesWhereTheyAreAskedFor) {
  const Pki pki;
  EXPECT_TRUE(absl::IsInvalidArgument(
      Made(pki.Issue("server", Pki::Dates::kExpired)).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(
      Made(pki.Issue("server", Pki::Dates::kNotYetValid)).status()));
  Secret mixed = pki.Issue("server");
  mixed.chain = pki.Issue("server").chain;
  EXPECT_FALSE(Made(mixed).ok());
}

TEST(PkiTest, AuthoritiesFollowEachOther) {
  Pki pki;
  const Secret before = pki.Issue("server");
  pki.Add();
  const std::string both = pki.Bundle();
  EXPECT_TRUE(pki.Issue("server").bundle == both);
  pki.SignNext();
  const Secret after = pki.Issue("server");
  EXPECT_FALSE(pki.IsOlder(before.serial, pki.oldest()));
  pki.Withdraw();
  EXPECT_TRUE(pki.IsOlder(before.serial, pki.oldest()));
  EXPECT_FALSE(pki.IsOlder(after.serial, pki.oldest()));
  EXPECT_FALSE(pki.IsOlder("unknown", pki.oldest()));

  Secret withdrawn = before;
  withdrawn.bundle = pki.Bundle();
  EXPECT_FALSE((*Made(withdrawn))->is_trusted_by_itself());
  Secret kept = after;
  kept.bundle = pki.Bundle();
  EXPECT_TRUE((*Made(kept))->is_trusted_by_itself());
}

class SecretFilesTest : public testing::Test {
 protected:
  void ExpectHas(const Secret& secret) const {
    EXPECT_EQ(Contents(files_.PathOf(SecretFiles::kKey)), secret.key);
    EXPECT_EQ(Contents(files_.PathOf(SecretFiles::kCert)), secret.chain);
    EXPECT_EQ(Contents(files_.PathOf(SecretFiles::kBundle)), secret.bundle);
  }

  const Pki pki_;
  const test::TempDirectory directory_;
  SecretFiles files_{directory_.path(), pki_.Issue("server")};
};

TEST_F(SecretFilesTest, AllWaysLeadToTheNewFiles) {
  Secret secret = pki_.Issue("server");
  files_.RenamePair(secret);
  ExpectHas(secret);
  secret = pki_.Issue("server");
  files_.SwapLink(secret);
  ExpectHas(secret);
  secret = pki_.Issue("server");
  files_.ReplaceDirectory(secret);
  ExpectHas(secret);
  secret = pki_.Issue("server");
  files_.SwapLink(secret);
  ExpectHas(secret);
}

TEST_F(SecretFilesTest, WritesInPlace) {
  files_.Overwrite(SecretFiles::kBundle, "a");
  EXPECT_EQ(Contents(files_.PathOf(SecretFiles::kBundle)), "a");
  files_.Append(SecretFiles::kBundle, "b");
  EXPECT_EQ(Contents(files_.PathOf(SecretFiles::kBundle)), "ab");
}

TEST(RawIdentityTest, ReadsWhatItHasWritten) {
  const Pki pki;
  const RawIdentity raw = pki.Issue("client0").Raw();
  const auto read = RawIdentity::Parse(raw.Text());
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->key, raw.key);
  EXPECT_EQ(read->chain, raw.chain);
  EXPECT_EQ(read->bundle, raw.bundle);
  EXPECT_FALSE(RawIdentity::Parse("").ok());
  EXPECT_TRUE(RawContext::Make(*read, /*verify=*/true).ok());
  RawIdentity mixed = raw;
  mixed.key = pki.Issue("client0").key;
  EXPECT_FALSE(RawContext::Make(mixed, /*verify=*/true).ok());
}

}  // namespace
}  // namespace mesh::benchmarks
