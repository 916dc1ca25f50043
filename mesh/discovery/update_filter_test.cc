#include "mesh/discovery/update_filter.h"

#include <memory>
#include <string>

#include "gtest/gtest.h"
#include "mesh/testing/fake_clock.h"

namespace mesh::discovery {
namespace {

cluster::EndpointSetPtr Some(const std::string& address = "a:1") {
  auto set = std::make_shared<cluster::EndpointSet>();
  set->endpoints.emplace_back();
  set->endpoints.back().address = address;
  return set;
}

cluster::EndpointSetPtr None() {
  return std::make_shared<cluster::EndpointSet>();
}

class UpdateFilterTest : public ::testing::Test {
 protected:
  UpdateFilter::Decision Report(cluster::EndpointSetPtr set) {
    return filter_.OnUpdate(std::move(set), clock_.Now());
  }
  UpdateFilter::Decision Fail() {
    return filter_.OnUpdate(absl::UnavailableError("down"), clock_.Now());
  }

  mesh::testing::FakeClock clock_;
  UpdateFilter filter_;
};

TEST_F(UpdateFilterTest, AppliesEndpointsAtOnce) {
  const auto first = Some("a:1");
  const auto second = Some("b:1");
  EXPECT_EQ(Report(first).apply, first);
  const auto decision = Report(second);
  EXPECT_EQ(decision.apply, second);
  EXPECT_EQ(decision.look_again, absl::InfiniteFuture());
  EXPECT_EQ(filter_.counters().applied, 2);
}

TEST_F(UpdateFilterTest, AppliesAnEmptySetAtOnceWhenThereWasNothing) {
  EXPECT_NE(Report(None()).apply, nullptr);
  EXPECT_NE(Report(None()).apply, nullptr);
  EXPECT_FALSE(filter_.doubting());
}

TEST_F(UpdateFilterTest, NeverAppliesAFailure) {
  EXPECT_EQ(Fail().apply, nullptr);
  Report(Some());
  for (int i = 0; i < 10; ++i) {
    clock_.Advance(absl::Hours(1));
    const auto decision = Fail();
    EXPECT_EQ(decision.apply, nullptr);
    EXPECT_EQ(decision.look_again, absl::InfiniteFuture());
  }
  EXPECT_EQ(filter_.OnUpdate(cluster::EndpointSetPtr(), clock_.Now()).apply,
            nullptr);
  EXPECT_EQ(filter_.counters().failures, 12);
}

TEST_F(UpdateFilterTest, BelievesThatAllIsGoneWhenItStandsForTenSeconds) {
  Report(Some());
  const auto none = None();
  auto decision = Report(none);
  EXPECT_EQ(decision.apply, nullptr);
  EXPECT_EQ(decision.look_again, clock_.Now() + absl::Seconds(10));
  EXPECT_TRUE(filter_.doubting());

  clock_.Advance(absl::Seconds(9));
  decision = filter_.OnTime(clock_.Now());
  EXPECT_EQ(decision.apply, nullptr);
  EXPECT_EQ(decision.look_again, clock_.Now() + absl::Seconds(1));

  clock_.Advance(absl::Seconds(1));
  EXPECT_EQ(filter_.OnTime(clock_.Now()).apply, none);
  EXPECT_FALSE(filter_.doubting());
  EXPECT_EQ(filter_.OnTime(clock_.Now()).apply, nullptr) << "only once";
  EXPECT_EQ(filter_.counters().emptied, 1);
  EXPECT_EQ(filter_.counters().doubted, 1);
}

TEST_F(UpdateFilterTest, BelievesThatAllIsGoneWhenItIsSaidThreeTimesRunning) {
  Report(Some());
  EXPECT_EQ(Report(None()).apply, nullptr);
  clock_.Advance(absl::Seconds(1));
  EXPECT_EQ(Report(None()).apply, nullptr);
  clock_.Advance(absl::Seconds(1));
  EXPECT_NE(Report(None()).apply, nullptr);
  EXPECT_NE(Report(None()).apply, nullptr) << "no doubt any more";
  EXPECT_EQ(filter_.counters().doubted, 2);
  EXPECT_EQ(filter_.counters().emptied, 1);
}

TEST_F(UpdateFilterTest, ASecondReportAfterTenSecondsIsBelieved) {
  Report(Some());
  Report(None());
  clock_.Advance(absl::Seconds(11));
  EXPECT_NE(Report(None()).apply, nullptr);
}

TEST_F(UpdateFilterTest, EndpointsThatComeBackEndTheDoubt) {
  Report(Some());
  Report(None());
  Report(None());
  const auto back = Some();
  EXPECT_EQ(Report(back).apply, back);
  EXPECT_EQ(filter_.counters().averted, 1);
  clock_.Advance(absl::Seconds(20));
  EXPECT_EQ(filter_.OnTime(clock_.Now()).apply, nullptr);
  EXPECT_EQ(Report(None()).apply, nullptr) << "doubted from the beginning";
}

TEST_F(UpdateFilterTest, AFailureBeginsTheDoubtAgain) {
  Report(Some());
  Report(None());
  Report(None());
  EXPECT_EQ(Fail().apply, nullptr);
  EXPECT_FALSE(filter_.doubting());
  clock_.Advance(absl::Seconds(20));
  EXPECT_EQ(filter_.OnTime(clock_.Now()).apply, nullptr);
  EXPECT_EQ(Report(None()).apply, nullptr);
  EXPECT_EQ(Report(None()).apply, nullptr);
  EXPECT_NE(Report(None()).apply, nullptr);
}

}  // namespace
}  // namespace mesh::discovery
