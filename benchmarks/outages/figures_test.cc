#include "benchmarks/outages/figures.h"

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mesh::benchmarks {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

absl::Time At(int milliseconds) {
  return absl::UnixEpoch() + absl::Milliseconds(milliseconds);
}

Outcome Call(int due, int code = 0, const std::string& by = "") {
  Outcome outcome;
  outcome.due = At(due);
  outcome.code = code;
  outcome.by = by;
  return outcome;
}

TEST(ParseOnlyTest, NamesRowsInAnyOrder) {
  const auto keys = ParseOnly("hole,churn", {"churn", "hole", "memory"});
  ASSERT_TRUE(keys.ok()) << keys.status();
  EXPECT_THAT(*keys, ElementsAre("churn", "hole"));
}

TEST(ParseOnlyTest, SaysWhatIsUnknownAndWhatThereIs) {
  const auto keys = ParseOnly("hole,chrun", {"churn", "hole"});
  ASSERT_FALSE(keys.ok());
  EXPECT_THAT(std::string(keys.status().message()), HasSubstr("\"chrun\""));
  EXPECT_THAT(std::string(keys.status().message()), HasSubstr("churn hole"));
  EXPECT_FALSE(ParseOnly("", {"churn"}).ok());
}

TEST(WantedTest, JudgesAndSaysItsBounds) {
  EXPECT_TRUE(AtMost(1.15).Met(1.15));
  EXPECT_FALSE(AtMost(1.15).Met(1.16));
  EXPECT_EQ(AtMost(1.15).Text(), "<= 1.15");
  EXPECT_EQ(AtMost(0).Text(), "0");
  EXPECT_TRUE(AtLeast(0.999).Met(1));
  EXPECT_FALSE(AtLeast(0.999).Met(0.99));
  EXPECT_EQ(AtLeast(0.999).Text(), ">= 0.999");
  EXPECT_FALSE(Between(0.27, 0.33).Met(0.26));
  EXPECT_FALSE(Between(0.27, 0.33).Met(0.34));
  EXPECT_EQ(Between(0.27, 0.33).Text(), "0.27 to 0.33");
}

TEST(CountDueTest, CountsWhatWasDueInTheWindow) {
  const std::vector<Outcome> outcomes = {
      Call(999, 14), Call(1000, 0, "p0"), Call(1500, 0, "b7"),
      Call(1700, 4), Call(2000, 14),
  };
  const Counts counts = CountDue(outcomes, At(1000), At(2000), 'b');
  EXPECT_EQ(counts.calls, 3);
  EXPECT_EQ(counts.failed, 1);
  EXPECT_EQ(counts.by, 1);
  EXPECT_DOUBLE_EQ(counts.success(), 2.0 / 3);
  EXPECT_DOUBLE_EQ(counts.by_share(), 0.5);
}

TEST(CountDueTest, ACallThatBeganLateHasFailed) {
  Outcome late = Call(10, 0, "b0");
  late.late = true;
  const Counts counts = CountDue({late}, At(0), At(100), 'b');
  EXPECT_EQ(counts.failed, 1);
  EXPECT_EQ(counts.late, 1);
  EXPECT_EQ(counts.by, 0);
}

TEST(RecoveredAfterTest, IsTheFirstOfTheRow) {
  const std::vector<Outcome> outcomes = {
      Call(40), Call(10, 14), Call(20), Call(30, 4), Call(50), Call(60),
  };
  EXPECT_EQ(RecoveredAfter(outcomes, At(5), 3), absl::Milliseconds(35));
  EXPECT_EQ(RecoveredAfter(outcomes, At(5), 1), absl::Milliseconds(15));
  EXPECT_EQ(RecoveredAfter(outcomes, At(5), 4), std::nullopt);
}

TEST(RecoveredAfterTest, LeavesOutWhatWasDueBeforeTheFault) {
  EXPECT_EQ(RecoveredAfter({Call(1), Call(2), Call(3)}, At(2), 3),
            std::nullopt);
}

TEST(AcceptedTest, CountsDialsAndWhatIsOpen) {
  const Accepted accepted = ParseAccepted(
      "accept 1000000\naccept 2000000\nclose 3000000\naccept 4000000\nacc");
  EXPECT_EQ(accepted.AcceptedIn(At(1), At(4)), 2);
  EXPECT_EQ(accepted.AcceptedIn(At(0), At(9)), 3);
  EXPECT_EQ(accepted.OpenAt(At(2)), 2);
  EXPECT_EQ(accepted.OpenAt(At(3)), 1);
  EXPECT_EQ(accepted.OpenAt(At(9)), 2);
}

TEST(MostWithinTest, SlidesTheWindow) {
  EXPECT_EQ(MostWithin({}, absl::Seconds(1)), 0);
  EXPECT_EQ(
      MostWithin({At(1900), At(900), At(1100), At(1899)}, absl::Seconds(1)), 3);
}

TEST(OutShareTest, AddsWhatEachEndpointIsOut) {
  const std::vector<HealthChange> changes = {
      {At(0), "a", true, false},     // Suspect...
      {At(200), "a", true, true},    // ...then ejected: one time out.
      {At(300), "a", false, false},  // Back.
      {At(900), "b", true, true},    // Until the end.
      {At(950), "c", false, false},
  };
  EXPECT_DOUBLE_EQ(OutShare(changes, 2, At(100), At(1100)), 0.2);
  EXPECT_DOUBLE_EQ(OutShare({}, 2, At(100), At(1100)), 0);
}

TEST(PortsToTest, ReadsConnectionsOfOneState) {
  const std::string text =
      "  sl  local_address rem_address   st tx_queue rx_queue\n"
      "   0: 0100007F:9A36 0100007F:E7E3 01 00000000:00000000\n"
      "   1: 0100007F:9A3C 0100007F:E7E3 02 00000000:00000000\n"
      "   2: 0100007F:9A42 0100007F:E7E4 02 00000000:00000000\n"
      "   3: 0000000000000000FFFF00000100007F:9A43 "
      "0000000000000000FFFF00000100007F:E7E3 02 00000000:00000000\n";
  EXPECT_THAT(PortsTo(text, {0xE7E3}, 2), ElementsAre(0x9A3C, 0x9A43));
  EXPECT_THAT(PortsTo(text, {0xE7E3}, 1), ElementsAre(0x9A36));
}

}  // namespace
}  // namespace mesh::benchmarks
