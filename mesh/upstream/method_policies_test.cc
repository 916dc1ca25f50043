#include "mesh/upstream/method_policies.h"

#include <memory>
#include <vector>

#include "gtest/gtest.h"

namespace mesh::upstream {
namespace {

std::shared_ptr<options::ServiceOptions> TwoPatterns() {
  auto options = std::make_shared<options::ServiceOptions>();
  options->policy.timeout = absl::Seconds(1);
  options->methods["shop.Cart/Get"].timeout = absl::Seconds(2);
  options->methods["shop.Cart/*"].timeout = absl::Seconds(3);
  return options;
}

void Limit(options::MethodOptions* policy) {
  policy->rate_limit.mode = options::Mode::kEnforce;
  policy->rate_limit.per_second = 10;
}

TEST(MethodPoliciesTest, AnUnknownServiceHasTheDefaults) {
  const MethodPolicies policies;
  EXPECT_EQ(policies.options(), nullptr);
  EXPECT_FALSE(policies.all_idempotent());
  const options::MethodOptions& policy = policies.Of(nullptr, "/a.B/C");
  EXPECT_EQ(policy.timeout, absl::InfiniteDuration());
  Method method;
  EXPECT_EQ(&MethodPolicies(nullptr).Of(&method, "/a.B/C"), &policy);
}

TEST(MethodPoliciesTest, ARegisteredMethodIsFoundByItsIndex) {
  const auto options = TwoPatterns();
  Method get;
  get.name = "/shop.Cart/Get";
  Method add;
  add.name = "/shop.Cart/Add";
  add.index = 1;
  const std::vector<const Method*> registered = {&get, &add};
  const MethodPolicies policies(options, registered);
  // Not by its name.
  EXPECT_EQ(policies.Of(&get, "").timeout, absl::Seconds(2));
  EXPECT_EQ(policies.Of(&add, "").timeout, absl::Seconds(3));
}

TEST(MethodPoliciesTest, AMethodThatWasRegisteredLaterIsFoundByItsName) {
  const MethodPolicies policies(TwoPatterns());
  Method late;
  late.name = "/shop.Cart/Get";
  EXPECT_EQ(policies.Of(&late, late.name).timeout, absl::Seconds(2));
}

TEST(MethodPoliciesTest,
     MethodsThatNobodyRegisteredShareTheBucketOfTheirPolicy) {
  const auto options = TwoPatterns();
  Limit(&options->policy);
  Limit(&options->methods["shop.Cart/*"]);
  Limit(&options->methods["shop.Cart/Get"]);
  const MethodPolicies policies(options);
  EXPECT_EQ(policies.Of(nullptr, "/a.B/C").rate_limit.bucket, "other methods");
  EXPECT_EQ(policies.Of(nullptr, "/a.B/C").timeout, absl::Seconds(1));
  EXPECT_EQ(&policies.Of(nullptr, "/a.B/C"), &policies.Of(nullptr, "/d.E/F"));
  EXPECT_EQ(policies.Of(nullptr, "/shop.Cart/X").rate_limit.bucket,
            "shop.Cart/*");
  EXPECT_EQ(policies.Of(nullptr, "/shop.Cart/Get").rate_limit.bucket, "")
      << "the configuration names it";
  Method method;
  method.name = "/a.B/C";
  EXPECT_EQ(policies.Of(&method, method.name).rate_limit.bucket, "")
      << "a stub has registered it";
}

TEST(MethodPoliciesTest, APolicyWithoutRateLimitIsNotCopied) {
  const auto options = TwoPatterns();
  const MethodPolicies policies(options);
  EXPECT_EQ(&policies.Of(nullptr, "/a.B/C"), &options->policy);
}

TEST(MethodPoliciesTest, PoliciesStayWhereTheyAreWhenTheObjectMoves) {
  const auto options = TwoPatterns();
  Limit(&options->policy);
  MethodPolicies first(options);
  const options::MethodOptions* const policy = &first.Of(nullptr, "/a.B/C");
  const MethodPolicies second = std::move(first);
  EXPECT_EQ(&second.Of(nullptr, "/a.B/C"), policy);
}

TEST(MethodPoliciesTest, AllAreIdempotentWhereEveryPolicySaysSo) {
  const auto options = TwoPatterns();
  options->policy.idempotent = true;
  EXPECT_FALSE(MethodPolicies(options).all_idempotent());
  for (auto& [pattern, policy] : options->methods) policy.idempotent = true;
  EXPECT_TRUE(MethodPolicies(options).all_idempotent());
}

}  // namespace
}  // namespace mesh::upstream
