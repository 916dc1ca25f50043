// What becomes of calls when endpoints have several priorities.

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "mesh/simulation/simulation_test_util.h"

namespace mesh::simulation {
namespace {

// So many primaries, and then so many backups.
Cluster With(int primaries, int backups, double rate) {
  Cluster cluster;
  for (int i = 0; i < primaries + backups; ++i) {
    Server server;
    const bool primary = i < primaries;
    server.address = absl::StrCat(primary ? "primary-" : "backup-",
                                  primary ? i : i - primaries);
    server.priority = primary ? 0 : 1;
    cluster.servers.push_back(server);
  }
  cluster.loads = {Load::Open("/shop.Cart/Get", rate)};
  cluster.loads[0].deadline = absl::Seconds(1);
  return cluster;
}

// The share of the attempts of [from, until) at the endpoints from `first` on.
double ShareFrom(const Result& result, size_t first, absl::Duration from,
                 absl::Duration until) {
  uint64_t its = 0;
  uint64_t all = 0;
  for (size_t i = 0; i < result.steps.size(); ++i) {
    if (result.step * i < from || result.step * i >= until) continue;
    for (size_t e = 0; e < result.steps[i].attempts.size(); ++e) {
      all += result.steps[i].attempts[e];
      if (e >= first) its += result.steps[i].attempts[e];
    }
  }
  return all == 0 ? 0 : static_cast<double>(its) / static_cast<double>(all);
}

// The share of the calls that begin from then on and end well.
double SuccessFrom(const Result& result, absl::Duration from) {
  uint64_t started = 0;
  uint64_t succeeded = 0;
  for (size_t i = 0; i < result.steps.size(); ++i) {
    if (result.step * i < from) continue;
    started += result.steps[i].started;
    succeeded += result.steps[i].succeeded;
  }
  EXPECT_GT(started, 0);
  return static_cast<double>(succeeded) / static_cast<double>(started);
}

options::ServiceOptions With(options::BalancingPolicy balancing) {
  options::ServiceOptions service = Idempotent();
  service.balancing = balancing;
  return service;
}

constexpr options::BalancingPolicy kPolicies[] = {
    options::BalancingPolicy::kLeastRequest,
    options::BalancingPolicy::kRoundRobin};

TEST(SimulationPrioritiesTest, BackupsCarryAllWhileEveryPrimaryFails) {
  for (int primaries : {1, 3, 6}) {
    for (options::BalancingPolicy policy : kPolicies) {
      Cluster cluster = With(primaries, 3, 300);
      for (int i = 0; i < primaries; ++i) {
        cluster.faults.push_back(Fault::Errors(
            cluster.servers[i].address, absl::Seconds(5), absl::Seconds(65), 1,
            absl::StatusCode::kUnavailable));
      }
      const Result result =
          RunOk(With(policy), cluster, For(absl::Seconds(65)));
      EXPECT_EQ(
          ShareFrom(result, primaries, absl::ZeroDuration(), absl::Seconds(5)),
          0)
          << "backups are not used while all is well";
      EXPECT_GE(SuccessFrom(result, absl::Seconds(7)), 0.999) << primaries;
      EXPECT_GT(
          ShareFrom(result, primaries, absl::Seconds(7), absl::Seconds(65)),
          0.99);
    }
  }
}

TEST(SimulationPrioritiesTest, PrimariesComeBackWhenTheyAreWell) {
  for (options::BalancingPolicy policy : kPolicies) {
    Cluster cluster = With(3, 3, 300);
    for (int i = 0; i < 3; ++i) {
      cluster.faults.push_back(
          Fault::Errors(cluster.servers[i].address, absl::Seconds(5),
                        absl::Seconds(15), 1, absl::StatusCode::kUnavailable));
    }
    options::ServiceOptions service = With(policy);
    service.guards.outlier_ejection.base_ejection_time = absl::Seconds(10);
    const Result result = RunOk(service, cluster, For(absl::Seconds(60)));
    EXPECT_LT(ShareFrom(result, 3, absl::Seconds(50), absl::Seconds(60)), 0.01);
    EXPECT_GE(SuccessFrom(result, absl::Seconds(7)), 0.999);
  }
}

TEST(SimulationPrioritiesTest, BackupsCarryWhatHalfOfThePrimariesCannot) {
  for (options::BalancingPolicy policy : kPolicies) {
    Cluster cluster = With(10, 10, 500);
    for (int i = 0; i < 5; ++i) {
      cluster.faults.push_back(Fault::Down(
          cluster.servers[i].address, absl::Seconds(5), absl::Seconds(25)));
    }
    const Result result = RunOk(With(policy), cluster, For(absl::Seconds(30)));
    const double share =
        ShareFrom(result, 10, absl::Seconds(10), absl::Seconds(25));
    EXPECT_GE(share, 0.27);
    EXPECT_LE(share, 0.33);
    EXPECT_EQ(SuccessFrom(result, absl::Seconds(6)), 1);
    EXPECT_LT(ShareFrom(result, 10, absl::Seconds(29), absl::Seconds(30)),
              0.01);
  }
}

TEST(SimulationPrioritiesTest, OneThatComesBackAmongTenIsNotFlooded) {
  Cluster cluster = With(10, 10, 1000);
  for (int i = 0; i < 10; ++i) {
    cluster.faults.push_back(
        Fault::Down(cluster.servers[i].address, absl::Seconds(5),
                    i == 0 ? absl::Seconds(15) : absl::Seconds(60)));
  }
  const Result result = RunOk(Idempotent(), cluster, For(absl::Seconds(30)));
  EXPECT_EQ(ShareFrom(result, 10, absl::Seconds(10), absl::Seconds(15)), 1);
  EXPECT_NEAR(ShareFrom(result, 10, absl::Seconds(20), absl::Seconds(30)), 0.86,
              0.02);
  EXPECT_EQ(SuccessFrom(result, absl::Seconds(6)), 1);
}

TEST(SimulationPrioritiesTest, SilentPrimariesLeaveTheirLoadToBackups) {
  Cluster cluster = With(3, 3, 300);
  for (int i = 0; i < 3; ++i) {
    cluster.faults.push_back(Fault::Silence(
        cluster.servers[i].address, absl::Seconds(5), absl::Seconds(20)));
  }
  const Result result = RunOk(Idempotent(), cluster, For(absl::Seconds(30)));
  EXPECT_EQ(SuccessFrom(result, absl::Seconds(7)), 1);
  EXPECT_EQ(ShareFrom(result, 3, absl::Seconds(7), absl::Seconds(20)), 1);
  EXPECT_LT(ShareFrom(result, 3, absl::Seconds(25), absl::Seconds(30)), 0.01);
}

// Nobody judges the endpoints, so their connections decide.
TEST(SimulationPrioritiesTest, WithoutHealthConnectionsDecide) {
  Cluster cluster = With(10, 10, 500);
  for (int i = 0; i < 5; ++i) {
    cluster.faults.push_back(Fault::Down(cluster.servers[i].address,
                                         absl::Seconds(5), absl::Seconds(25)));
  }
  const Result result =
      RunOk(WithoutHealth(Idempotent()), cluster, For(absl::Seconds(25)));
  EXPECT_NEAR(ShareFrom(result, 10, absl::Seconds(10), absl::Seconds(25)), 0.3,
              0.03);
}

}  // namespace
}  // namespace mesh::simulation
