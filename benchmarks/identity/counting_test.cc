#include "benchmarks/identity/counting.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mesh::benchmarks {
namespace {

using testing::DoubleEq;
using testing::Pair;
using testing::UnorderedElementsAre;

TEST(PercentileTest, IsASampleThatTheShareDoesNotExceed) {
  std::vector<double> samples;
  for (int i = 100; i > 0; --i) samples.push_back(i);
  EXPECT_EQ(Percentile(samples, 0.99), 99);
  EXPECT_EQ(Percentile(samples, 0.5), 50);
  EXPECT_EQ(Percentile(samples, 1), 100);
  EXPECT_EQ(Percentile({7}, 0.99), 7);
  EXPECT_EQ(Percentile({}, 0.99), 0);
}

TEST(SlopeTest, IsThatOfTheBestLine) {
  EXPECT_THAT(Slope({{0, 1}, {1, 3}, {2, 5}}), DoubleEq(2));
  // One that is off the line moves it by its part.
  EXPECT_THAT(Slope({{0, 0}, {1, 3}, {2, 0}}), DoubleEq(0));
  EXPECT_EQ(Slope({{4, 1}, {4, 9}}), 0);
  EXPECT_EQ(Slope({}), 0);
}

TEST(FloorSlopeTest, SeesALeakThroughWhatComesAndGoes) {
  std::vector<std::pair<double, double>> steady, leaking;
  for (int i = 0; i < 40; ++i) {
    const double passing = i % 3 == 0 ? 0 : 5 * (i % 3);
    steady.push_back({i, 20 + passing});
    leaking.push_back({i, 20 + passing + i});
  }
  EXPECT_EQ(FloorSlope(steady), 0);
  EXPECT_NEAR(FloorSlope(leaking), 1, 0.3);
  EXPECT_EQ(FloorSlope({{0, 1}, {1, 2}}), 0) << "too few";
}

TEST(SamplesOfTest, ReadsTheLinesOfOneMetric) {
  constexpr char kText[] =
      "# HELP mesh_a What it is.\n"
      "# TYPE mesh_a gauge\n"
      "mesh_a{service=\"cart\",generation=\"7\"} 2\n"
      "mesh_a{service=\"cart\",generation=\"8\"} 0\n"
      "mesh_a_total 5\n"
      "mesh_b 3\n";
  const std::vector<Sample> samples = SamplesOf(kText, "mesh_a");
  ASSERT_EQ(samples.size(), 2u);
  EXPECT_THAT(samples[0].labels, UnorderedElementsAre(Pair("service", "cart"),
                                                      Pair("generation", "7")));
  EXPECT_EQ(samples[0].value, 2);
  ASSERT_EQ(SamplesOf(kText, "mesh_b").size(), 1u);
  EXPECT_EQ(SamplesOf(kText, "mesh_b")[0].value, 3);
}

}  // namespace
}  // namespace mesh::benchmarks
