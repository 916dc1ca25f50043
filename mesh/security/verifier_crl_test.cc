#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/certs/authority.h"
#include "mesh/options/security.h"
#include "mesh/security/testing/certificates.h"
#include "mesh/security/verifier.h"

// Lists of revoked certificates.

namespace mesh::security {
namespace {

using testing::Der;
using ::testing::HasSubstr;
using testing::kUriName;
using testing::kUtf8String;
using testing::Must;
using testing::Scene;

constexpr char kCart[] = "spiffe://prod/cart";

// A leaf below an intermediate, and good lists of both authorities.
class CrlTest : public ::testing::Test {
 protected:
  CrlTest() {
    scene_.policy.crl = CrlCheck::kRequire;
    scene_.crls = {scene_.Crl(scene_.root), scene_.Crl(middle_)};
  }

  std::string Why() const { return scene_.Why(issued_.chain); }
  std::string Why(std::vector<std::string> crls) {
    scene_.crls = std::move(crls);
    return Why();
  }
  certs::CrlOptions Options() const {
    certs::CrlOptions options;
    options.this_update = scene_.from;
    options.next_update = scene_.until;
    return options;
  }
  // Why the lists are refused as a whole.
  std::string WhyNoTrust(const certs::CrlOptions& options) const {
    const absl::StatusOr<std::shared_ptr<const Trust>> trust =
        Trust::Make(scene_.bundles, {Must(middle_.MakeCrl(options))}, "prod");
    if (trust.ok()) return "good";
    EXPECT_EQ(trust.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(trust.status().message());
  }

  static certs::Authority MakeMiddle(const Scene& scene) {
    certs::CertificateOptions options = scene.AuthorityOptions("middle");
    options.serial = "0b";
    return Must(scene.root.MakeIntermediate(
        options, Must(certs::Key::Make(certs::KeyType::kP256))));
  }

  Scene scene_;
  const certs::Authority middle_ = MakeMiddle(scene_);
  const certs::Issued issued_ = Must(middle_.Issue(scene_.Svid(kCart)));
};

TEST_F(CrlTest, ALeafOnTheListIsRefused) {
  EXPECT_EQ(Why(), "none");
  const std::string root = scene_.Crl(scene_.root);
  EXPECT_EQ(Why({root, scene_.Crl(middle_, {"1234"})}), "none");
  EXPECT_EQ(Why({root, scene_.Crl(middle_, {"1234", issued_.serial})}),
            "revoked");
  EXPECT_EQ(Why({scene_.Crl(middle_, {issued_.serial}) + root}), "revoked")
      << "two lists in one text";
  EXPECT_EQ(
      Why({scene_.Crl(scene_.root, {issued_.serial}), scene_.Crl(middle_)}),
      "none")
      << "a number on another issuer's list";
}

TEST_F(CrlTest, AnIntermediateOnTheListIsRefused) {
  EXPECT_EQ(Why(), "none");
  EXPECT_EQ(Why({scene_.Crl(scene_.root, {"0b"}), scene_.Crl(middle_)}),
            "revoked");
}

TEST_F(CrlTest, EachIssuerNeedsAList) {
  EXPECT_EQ(Why(), "none");
  EXPECT_EQ(Why({scene_.Crl(scene_.root)}), "no_crl");
  EXPECT_EQ(Why({scene_.Crl(middle_)}), "no_crl");
  EXPECT_EQ(Why({}), "no_crl");
}

TEST_F(CrlTest, AListHoldsBetweenItsDates) {
  const std::string root = scene_.Crl(scene_.root);
  const auto why = [&](absl::Duration from, absl::Duration until) {
    certs::CrlOptions options = Options();
    options.this_update = scene_.now + from;
    options.next_update = scene_.now + until;
    return Why({root, Must(middle_.MakeCrl(options))});
  };
  const absl::Duration second = absl::Seconds(1);
  EXPECT_EQ(why(absl::ZeroDuration(), second), "none");
  EXPECT_EQ(why(-second, absl::ZeroDuration()), "crl_expired");
  EXPECT_EQ(why(second, 2 * second), "crl_expired");
  // One that holds is enough.
  certs::CrlOptions old = Options();
  old.next_update = scene_.now;
  EXPECT_EQ(Why({root, Must(middle_.MakeCrl(old)), scene_.Crl(middle_)}),
            "none");
  // What an old one revokes stays revoked.
  old.revoked = {issued_.serial};
  EXPECT_EQ(Why({root, Must(middle_.MakeCrl(old)), scene_.Crl(middle_)}),
            "revoked");
}

TEST_F(CrlTest, TheVerdictHoldsNoLongerThanTheList) {
  certs::CrlOptions options = Options();
  options.next_update = scene_.now + absl::Minutes(5);
  scene_.crls = {scene_.Crl(scene_.root), Must(middle_.MakeCrl(options))};
  EXPECT_EQ(scene_.Judge(issued_.chain).not_after, options.next_update);
  scene_.policy.crl = CrlCheck::kIfPresent;
  EXPECT_EQ(scene_.Judge(issued_.chain).not_after, scene_.until);
}

TEST_F(CrlTest, AListOfAnotherSignerIsNone) {
  const std::string root = scene_.Crl(scene_.root);
  // It has the same name.
  const certs::Authority other = MakeMiddle(scene_);
  EXPECT_EQ(Why({root, scene_.Crl(other)}), "no_crl");
  EXPECT_EQ(Why({root, scene_.Crl(other, {issued_.serial})}), "no_crl");
  EXPECT_EQ(Why({root, scene_.Crl(other), scene_.Crl(middle_)}), "none");
  EXPECT_EQ(
      Why({root, scene_.Crl(other, {issued_.serial}), scene_.Crl(middle_)}),
      "none");
}

TEST_F(CrlTest, AnAuthorityThatMayNotSignListsHasNone) {
  certs::CertificateOptions options = scene_.AuthorityOptions("middle");
  options.key_usage = certs::kKeyCertSign;
  const certs::Authority no_lists =
      Must(scene_.root.MakeIntermediate(options, middle_.key()));
  const std::string leaf = Must(no_lists.Issue(scene_.Svid(kCart))).chain;
  EXPECT_EQ(Why(), "none");
  EXPECT_EQ(scene_.Why(leaf), "no_crl");
}

TEST_F(CrlTest, IfPresentAdmitsAndCounts) {
  scene_.policy.crl = CrlCheck::kIfPresent;
  const std::string root = scene_.Crl(scene_.root);
  EXPECT_EQ(Why(), "none");
  EXPECT_FALSE(scene_.Judge(issued_.chain).lacks_crl);
  EXPECT_EQ(Why({root}), "none");
  EXPECT_TRUE(scene_.Judge(issued_.chain).lacks_crl);
  certs::CrlOptions old = Options();
  old.next_update = scene_.now;
  EXPECT_EQ(Why({root, Must(middle_.MakeCrl(old))}), "none");
  EXPECT_TRUE(scene_.Judge(issued_.chain).lacks_crl);
  EXPECT_EQ(Why({scene_.Crl(middle_, {issued_.serial})}), "revoked");
  old.revoked = {issued_.serial};
  EXPECT_EQ(Why({root, Must(middle_.MakeCrl(old))}), "revoked");
}

TEST_F(CrlTest, OffLooksAtNoList) {
  scene_.policy.crl = CrlCheck::kOff;
  EXPECT_EQ(Why({}), "none");
  EXPECT_EQ(Why({scene_.Crl(middle_, {issued_.serial})}), "none");
  EXPECT_FALSE(scene_.Judge(issued_.chain).lacks_crl);
  scene_.policy.crl = CrlCheck::kRequire;
  EXPECT_EQ(Why({scene_.Crl(middle_, {issued_.serial})}), "revoked");
}

TEST_F(CrlTest, AListMayHave100000Entries) {
  std::vector<std::string> revoked;
  for (int i = 0; i < 100000; ++i) {
    revoked.push_back(absl::StrCat("7f", absl::Hex(i, absl::kZeroPad16)));
  }
  const std::string root = scene_.Crl(scene_.root);
  EXPECT_EQ(Why({root, scene_.Crl(middle_, revoked)}), "none");
  revoked.push_back(issued_.serial);
  EXPECT_EQ(Why({root, scene_.Crl(middle_, revoked)}), "revoked");
}

TEST_F(CrlTest, ManyThreadsMayAskAtOnce) {
  const std::shared_ptr<const Trust> trust =
      Must(Trust::Make(scene_.bundles, scene_.crls, "prod"));
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([this, &trust] {
      for (int j = 0; j < 20; ++j) {
        const PeerVerdict verdict =
            VerifyPeer(issued_.chain, *trust, scene_.policy, scene_.now);
        EXPECT_TRUE(verdict.admitted()) << verdict.text;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(CrlTest, ListsAreRequiredByDefaultOnceThereIsOne) {
  using options::CrlMode;
  const auto with = Must(Trust::Make(scene_.bundles, scene_.crls, "prod"));
  const auto without = Must(Trust::Make(scene_.bundles, {}, "prod"));
  EXPECT_EQ(CrlCheckOf(CrlMode::kDefault, *with), CrlCheck::kRequire);
  EXPECT_EQ(CrlCheckOf(CrlMode::kDefault, *without), CrlCheck::kOff);
  for (const auto& trust : {with, without}) {
    EXPECT_EQ(CrlCheckOf(CrlMode::kRequire, *trust), CrlCheck::kRequire);
    EXPECT_EQ(CrlCheckOf(CrlMode::kIfPresent, *trust), CrlCheck::kIfPresent);
  }
}

TEST_F(CrlTest, APartOfAListIsNone) {
  const std::string x400 = Der(testing::kX400Address, Der(0x30, ""));
  const std::string edi =
      Der(testing::kEdiPartyName, Der(0xa1, Der(kUtf8String, "party")));
  const std::string uri = Der(kUriName, "http://prod/crl");
  EXPECT_EQ(WhyNoTrust(Options()), "good");
  for (const std::string& name : {x400, edi, uri}) {
    certs::CrlOptions options = Options();
    options.extensions = {testing::IssuingDistributionPoint(name)};
    EXPECT_THAT(WhyNoTrust(options), HasSubstr("only a part")) << name;
    options.extensions[0].critical = false;
    EXPECT_THAT(WhyNoTrust(options), HasSubstr("only a part")) << name;
  }
  certs::CrlOptions delta = Options();
  delta.extensions = {{"2.5.29.27", true, Der(0x02, "\1")}};
  EXPECT_THAT(WhyNoTrust(delta), HasSubstr("only a part"));
}

TEST_F(CrlTest, PointsOfDistributionInACertificateDoNotCount) {
  const std::string x400 = Der(testing::kX400Address, Der(0x30, ""));
  const std::string edi =
      Der(testing::kEdiPartyName, Der(0xa1, Der(kUtf8String, "party")));
  for (const std::string& name : {x400, edi}) {
    certs::CertificateOptions leaf = scene_.Svid(kCart);
    leaf.serial = "77";
    leaf.extensions = {testing::DistributionPoints(name)};
    const std::string chain = Must(middle_.Issue(leaf)).chain;
    const std::string root = scene_.Crl(scene_.root);
    scene_.crls = {root, scene_.Crl(middle_)};
    EXPECT_EQ(scene_.Why(chain), "none");
    scene_.crls = {root, scene_.Crl(middle_, {"77"})};
    EXPECT_EQ(scene_.Why(chain), "revoked");
  }
}

TEST_F(CrlTest, AListThatCannotBeReadIsAnError) {
  certs::CrlOptions options = Options();
  options.digest = certs::Digest::kSha1;
  EXPECT_THAT(WhyNoTrust(options), HasSubstr("weaker digest"));
  options = Options();
  options.extensions = {{"1.3.6.1.4.1.99999.1", false, Der(0x05, "")}};
  EXPECT_EQ(WhyNoTrust(options), "good");
  options.extensions[0].critical = true;
  EXPECT_THAT(WhyNoTrust(options), HasSubstr("critical extension"));
  const auto why = [this](const std::string& text) {
    return std::string(
        Trust::Make(scene_.bundles, {text}, "prod").status().message());
  };
  EXPECT_THAT(why(""), HasSubstr("has no block \"X509 CRL\""));
  EXPECT_THAT(why(scene_.root.pem()), HasSubstr("has no block \"X509 CRL\""));
  const std::string good = scene_.Crl(middle_);
  EXPECT_EQ(why(good), "");
  EXPECT_THAT(why(good.substr(0, good.size() - 30)), HasSubstr("cut off"));
  EXPECT_THAT(why(std::string(Trust::kMaxCrlBytes + 1, '\n')),
              HasSubstr("at most"));
}

}  // namespace
}  // namespace mesh::security
