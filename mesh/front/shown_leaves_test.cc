#include "mesh/front/shown_leaves.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "mesh/certs/authority.h"
#include "mesh/security/identity.h"
#include "mesh/security/source_test_util.h"

namespace mesh::front {
namespace {

using security::IdentityPtr;

const absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);

class ShownLeavesTest : public ::testing::Test {
 protected:
  // A leaf of `signer`, and whom its process trusts.
  static IdentityPtr Of(const certs::Authority& signer,
                        const std::vector<const certs::Authority*>& trusted) {
    std::string bundle;
    for (const certs::Authority* one : trusted) bundle += one->root_pem();
    return *security::Identity::Make(
        security::BytesOf(security::SvidOf(signer, kNow, kNow + absl::Hours(1)),
                          bundle),
        kNow + absl::Seconds(1));
  }
  uint64_t Show(const IdentityPtr& identity) {
    return leaves_.Show(identity.get(), kNow + absl::Seconds(1));
  }

  const certs::Authority old_ = security::RootAt(kNow, "old");
  const certs::Authority new_ = security::RootAt(kNow, "new");
  const IdentityPtr before_ = Of(old_, {&old_});
  const IdentityPtr both_ = Of(new_, {&old_, &new_});
  const IdentityPtr after_ = Of(new_, {&new_});
  ShownLeaves leaves_;
};

TEST_F(ShownLeavesTest, ANumberIsOfOneChain) {
  EXPECT_EQ(Show(nullptr), 0) << "nothing was shown before, either";
  EXPECT_EQ(Show(before_), 1);
  EXPECT_EQ(Show(before_), 1);
  EXPECT_EQ(Show(Of(old_, {&old_})), 2);
  EXPECT_EQ(Show(nullptr), 3);
  EXPECT_EQ(Show(before_), 4);
}

TEST_F(ShownLeavesTest, FindsTheLastLeafOfAnAuthorityThatIsGone) {
  Show(before_);
  Show(Of(old_, {&old_, &new_}));
  EXPECT_EQ(Show(both_), 3);
  EXPECT_EQ(leaves_.TakeWithdrawn(both_->trust()), 0) << "both are trusted";
  EXPECT_EQ(leaves_.TakeWithdrawn(after_->trust()), 2);
  EXPECT_EQ(leaves_.TakeWithdrawn(after_->trust()), 0) << "it is forgotten";
}

TEST_F(ShownLeavesTest, ALeafThatIsShownStillMayBeTheOne) {
  Show(before_);
  EXPECT_EQ(leaves_.TakeWithdrawn(after_->trust()), 1);
}

TEST_F(ShownLeavesTest, OneThatWasNeverTrustedIsNotWithdrawn) {
  Show(Of(old_, {&new_}));
  EXPECT_EQ(leaves_.TakeWithdrawn(after_->trust()), 0);
}

TEST_F(ShownLeavesTest, TheEndOfALeafIsNoWithdrawal) {
  Show(before_);
  Show(both_);
  // It is looked at as of when it was shown, so its dates hold.
  EXPECT_EQ(leaves_.TakeWithdrawn(both_->trust()), 0);
}

TEST_F(ShownLeavesTest, RemembersManyIssuers) {
  for (size_t i = 0; i < ShownLeaves::kMost; ++i) {
    const certs::Authority one =
        security::RootAt(kNow, absl::StrCat("authority ", i));
    Show(Of(one, {&one}));
  }
  EXPECT_EQ(leaves_.TakeWithdrawn(after_->trust()), ShownLeaves::kMost);
}

}  // namespace
}  // namespace mesh::front
