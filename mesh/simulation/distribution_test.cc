#include "mesh/simulation/distribution.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "gtest/gtest.h"

namespace mesh::simulation {
namespace {

std::vector<double> Milliseconds(const Distribution& distribution, int count) {
  base::Random random(1);
  std::vector<double> samples;
  for (int i = 0; i < count; ++i) {
    samples.push_back(static_cast<double>(distribution.Sample(random)) * 1e-6);
  }
  std::sort(samples.begin(), samples.end());
  return samples;
}

double Mean(const std::vector<double>& samples) {
  double sum = 0;
  for (double sample : samples) sum += sample;
  return sum / static_cast<double>(samples.size());
}

TEST(DistributionTest, AConstantIsAlwaysTheSame) {
  const auto samples =
      Milliseconds(Distribution::Constant(absl::Milliseconds(7)), 10);
  EXPECT_EQ(samples.front(), 7);
  EXPECT_EQ(samples.back(), 7);
}

TEST(DistributionTest, AnExponentialHasItsMeanAndTail) {
  const auto samples =
      Milliseconds(Distribution::Exponential(absl::Milliseconds(10)), 100'000);
  EXPECT_NEAR(Mean(samples), 10, 0.2);
  EXPECT_NEAR(samples[50'000], 6.93, 0.2);
  EXPECT_NEAR(samples[99'000], 46.05, 2);
}

TEST(DistributionTest, ALogNormalHasItsMedianAndTail) {
  const auto samples = Milliseconds(
      Distribution::LogNormal(absl::Milliseconds(10), 0.5), 100'000);
  EXPECT_NEAR(samples[50'000], 10, 0.2);
  EXPECT_NEAR(samples[99'000], 10 * 3.2, 1.5) << "exp(2.33 * 0.5) = 3.2";
}

TEST(DistributionTest, MeasuredQuantilesAreMetAndInterpolated) {
  const Distribution distribution =
      Distribution::Quantiles({{0.0, absl::Milliseconds(1)},
                               {0.5, absl::Milliseconds(3)},
                               {0.9, absl::Milliseconds(11)}});
  ASSERT_TRUE(distribution.Check().ok());
  const auto samples = Milliseconds(distribution, 100'000);
  EXPECT_NEAR(samples[25'000], 2, 0.05);
  EXPECT_NEAR(samples[50'000], 3, 0.05);
  EXPECT_NEAR(samples[70'000], 7, 0.1);
  EXPECT_EQ(samples[95'000], 11) << "nothing is made up above the last one";
}

TEST(DistributionTest, SamplesAreBounded) {
  for (const Distribution& distribution :
       {Distribution::LogNormal(absl::Hours(24), 10),
        Distribution::Exponential(absl::Hours(24))}) {
    const auto samples = Milliseconds(distribution, 10'000);
    EXPECT_GE(samples.front(), 0);
    EXPECT_LE(samples.back(), 86400e3);
  }
}

TEST(DistributionTest, RefusesParametersThatMakeNoSense) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_TRUE(Distribution().Check().ok());
  EXPECT_FALSE(Distribution::Constant(-absl::Seconds(1)).Check().ok());
  EXPECT_FALSE(
      Distribution::Exponential(absl::InfiniteDuration()).Check().ok());
  EXPECT_FALSE(Distribution::LogNormal(absl::Seconds(1), -1).Check().ok());
  EXPECT_FALSE(Distribution::LogNormal(absl::Seconds(1), nan).Check().ok());
  EXPECT_FALSE(Distribution::Quantiles({}).Check().ok());
  EXPECT_FALSE(Distribution::Quantiles({{1.5, absl::Seconds(1)}}).Check().ok());
  EXPECT_FALSE(Distribution::Quantiles(
                   {{0.1, absl::Seconds(2)}, {0.5, absl::Seconds(1)}})
                   .Check()
                   .ok());
}

}  // namespace
}  // namespace mesh::simulation
