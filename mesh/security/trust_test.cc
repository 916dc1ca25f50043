#include "mesh/security/trust.h"

#include <map>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/certs/authority.h"
#include "mesh/security/testing/certificates.h"

namespace mesh::security {
namespace {

using ::testing::HasSubstr;
using testing::Must;
using testing::Scene;

using Bundles = std::map<std::string, std::string>;

class TrustTest : public ::testing::Test {
 protected:
  static std::shared_ptr<const Trust> Make(
      const Bundles& bundles, const std::vector<std::string>& crls = {}) {
    return Must(Trust::Make(bundles, crls, "prod"));
  }
  static std::string Why(const Bundles& bundles) {
    const auto trust = Trust::Make(bundles, {}, "prod");
    if (trust.ok()) return "good";
    EXPECT_EQ(trust.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(trust.status().message());
  }
  std::string RootWith(certs::KeyType type, int bits) const {
    return Must(certs::Authority::MakeRoot(scene_.AuthorityOptions("x"),
                                           Must(certs::Key::Make(type, bits))))
        .pem();
  }

  const Scene scene_;
  const std::string a_ = scene_.root.pem();
  const std::string b_ = scene_.MakeRoot("root").pem();
};

TEST_F(TrustTest, KeepsEachAuthorityOnce) {
  const auto bundle = Must(Bundle::Parse(a_ + b_ + a_));
  EXPECT_EQ(bundle.size(), 2u);
  EXPECT_EQ(Must(Bundle::Parse(a_)).size(), 1u);
}

TEST_F(TrustTest, ABundleThatCannotBeReadWholeIsAnError) {
  EXPECT_EQ(Why({{"prod", "words\n" + a_ + b_}}), "good");
  EXPECT_EQ(Why({}), "good");
  EXPECT_THAT(Why({{"prod", ""}}),
              HasSubstr("the bundle of \"prod\": it has no certificate"));
  EXPECT_THAT(Why({{"", "words"}}), HasSubstr("the bundle: it has no cert"));
  EXPECT_THAT(Why({{"prod", a_ + b_.substr(0, b_.size() / 2)}}),
              HasSubstr("cut off"));
  std::string damaged = a_;
  damaged.replace(a_.find("MII"), 3, "AAA");
  EXPECT_THAT(Why({{"prod", b_ + damaged}}),
              HasSubstr("certificate 2 cannot be read"));
  EXPECT_THAT(Why({{"Prod", a_}}), HasSubstr("the trust domain may have only"));
}

TEST_F(TrustTest, ABundleHasBounds) {
  std::string many;
  for (int i = 0; i < 1000; ++i) many += a_;
  EXPECT_EQ(Why({{"prod", many}}), "good");
  EXPECT_THAT(Why({{"prod", many + a_}}), HasSubstr("more than 1000"));
  const std::string words(Bundle::kMaxBytes - a_.size(), '\n');
  EXPECT_EQ(Why({{"prod", words + a_}}), "good");
  EXPECT_THAT(Why({{"prod", words + a_ + "\n"}}), HasSubstr("1048577 bytes"));
}

TEST_F(TrustTest, AWeakAuthorityIsAnError) {
  EXPECT_EQ(Why({{"prod", RootWith(certs::KeyType::kRsa, 2048)}}), "good");
  EXPECT_THAT(Why({{"prod", a_ + RootWith(certs::KeyType::kRsa, 1024)}}),
              HasSubstr("the authority \"/CN=x\" has an RSA key of 1024 bits"));
}

TEST_F(TrustTest, TellsAllAuthoritiesOnce) {
  EXPECT_EQ(Make({})->AllPem(), "");
  EXPECT_EQ(Make({{"prod", a_}})->AllPem(), a_);
  const auto trust =
      Make({{"", a_}, {"other", "words\n" + b_}, {"prod", b_ + a_ + a_}});
  EXPECT_EQ(trust->AllPem(), a_ + b_);
}

TEST_F(TrustTest, DnsNamesCountBelowTheirOwnAuthorities) {
  const auto trust = Make({{"", a_}, {"x", a_}, {"y", b_}, {"z", a_ + b_}});
  EXPECT_TRUE(trust->VouchesForDnsNames(trust->ForDnsNames()));
  EXPECT_TRUE(trust->VouchesForDnsNames(trust->ForDomain("prod")));
  EXPECT_TRUE(trust->VouchesForDnsNames(trust->ForDomain("x")));
  EXPECT_FALSE(trust->VouchesForDnsNames(trust->ForDomain("y")));
  EXPECT_FALSE(trust->VouchesForDnsNames(trust->ForDomain("z")));
  EXPECT_FALSE(trust->VouchesForDnsNames(nullptr));
  const auto own = Make({{"prod", a_}, {"y", b_}});
  EXPECT_TRUE(own->VouchesForDnsNames(own->ForDomain("prod")));
  EXPECT_FALSE(own->VouchesForDnsNames(own->ForDomain("y")));
}

TEST_F(TrustTest, LessTrustIsAWithdrawal) {
  const auto both = Make({{"prod", a_ + b_}});
  const auto one = Make({{"prod", a_}});
  EXPECT_FALSE(both->IsWithdrawnBy(*both));
  EXPECT_FALSE(both->IsWithdrawnBy(*Make({{"prod", b_ + a_ + a_}})));
  EXPECT_FALSE(one->IsWithdrawnBy(*both)) << "one more is a renewal";
  EXPECT_TRUE(both->IsWithdrawnBy(*one));
  EXPECT_TRUE(one->IsWithdrawnBy(*Make({{"prod", b_}})));
  EXPECT_TRUE(one->IsWithdrawnBy(*Make({{"other", a_}})));
  EXPECT_FALSE(one->IsWithdrawnBy(*Make({{"prod", a_}, {"other", b_}})));
  EXPECT_TRUE(Make({{"prod", a_}, {"other", b_}})->IsWithdrawnBy(*both));
}

TEST_F(TrustTest, OtherListsAreAWithdrawal) {
  const std::string list = scene_.Crl(scene_.root);
  const std::string other = scene_.Crl(scene_.root, {"77"});
  const auto trust = Make({{"prod", a_}}, {list});
  EXPECT_FALSE(trust->IsWithdrawnBy(*Make({{"prod", a_}}, {list})));
  EXPECT_FALSE(trust->IsWithdrawnBy(*Make({{"prod", a_}}, {list + list})));
  EXPECT_TRUE(trust->IsWithdrawnBy(*Make({{"prod", a_}}, {other})));
  EXPECT_TRUE(trust->IsWithdrawnBy(*Make({{"prod", a_}}, {list, other})));
  EXPECT_TRUE(trust->IsWithdrawnBy(*Make({{"prod", a_}})));
  EXPECT_TRUE(Make({{"prod", a_}})->IsWithdrawnBy(*trust));
  EXPECT_TRUE(trust->has_crls());
  EXPECT_FALSE(Make({{"prod", a_}})->has_crls());
}

}  // namespace
}  // namespace mesh::security
