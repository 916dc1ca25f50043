// What the tests of the policies share.

#ifndef MESH_BALANCING_BALANCING_TEST_UTIL_H_
#define MESH_BALANCING_BALANCING_TEST_UTIL_H_

#include <cmath>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/balancing/load_balancer.h"

namespace mesh::balancing {

inline Member MakeMember(
    const std::string& address, uint32_t weight = 1, uint32_t priority = 0,
    cluster::Readiness readiness = cluster::Readiness::kReady) {
  cluster::Endpoint endpoint;
  endpoint.address = address;
  endpoint.priority = priority;
  Member member{std::make_shared<cluster::LiveEndpoint>(std::move(endpoint)),
                weight, priority};
  member.live->set_readiness(readiness);
  return member;
}

inline std::vector<Member> MakeMembers(const std::vector<uint32_t>& weights) {
  std::vector<Member> members;
  for (uint32_t weight : weights) {
    members.push_back(MakeMember(std::to_string(members.size()), weight));
  }
  return members;
}

inline std::vector<Member> MakeMembers(int n) {
  return MakeMembers(std::vector<uint32_t>(n, 1));
}

// One policy under test, with a random generator of its own.
class Subject {
 public:
  explicit Subject(options::BalancingPolicy policy, uint64_t seed = 1)
      : balancer_(MakeLoadBalancer(policy)), random_(seed) {}

  void Update(
      const std::vector<Member>& members,
      const std::shared_ptr<const cluster::LoadShares>& shares = nullptr) {
    picker_ = balancer_->Update(members, none_, shares);
  }

  // Picks and keeps what was picked acquired.
  PickResult Pick(const std::vector<const cluster::LiveEndpoint*>& tried = {},
                  bool wait_for_ready = false, PickTrace* trace = nullptr,
                  const cluster::LiveEndpoint* elsewhere_than = nullptr) {
    PickArgs args;
    args.tried = tried;
    args.elsewhere_than = elsewhere_than;
    args.wait_for_ready = wait_for_ready;
    args.random = &random_;
    args.trace = trace;
    return picker_->Pick(args);
  }

  // Picks and releases. Null when there was nothing to use.
  const cluster::LiveEndpoint* PickAndRelease(
      const std::vector<const cluster::LiveEndpoint*>& tried = {}) {
    const PickResult result = Pick(tried);
    if (result.kind != PickResult::Kind::kUse) return nullptr;
    result.endpoint->Release();
    return result.endpoint;
  }

  // How many of `n` calls, each over before the next, go to each member.
  std::vector<int> Shares(const std::vector<Member>& members, int n) {
    std::map<const cluster::LiveEndpoint*, int> counts;
    for (int i = 0; i < n; ++i) ++counts[PickAndRelease()];
    std::vector<int> shares;
    for (const Member& member : members) {
      shares.push_back(counts[member.live.get()]);
    }
    return shares;
  }

  const PickerPtr& picker() const { return picker_; }

 private:
  const absl::Status none_ = absl::UnavailableError("cart has no endpoints");
  const std::unique_ptr<LoadBalancer> balancer_;
  base::Random random_;
  PickerPtr picker_;
};

inline int64_t InFlight(const std::vector<Member>& members) {
  int64_t sum = 0;
  for (const Member& member : members) sum += member.live->in_flight();
  return sum;
}

// Expects that a share of `n` independent draws with probability `p` is within
// five standard deviations of its mean.
inline testing::Matcher<int> IsShare(double p, int n) {
  const double deviation = 5 * std::sqrt(n * p * (1 - p));
  return testing::AllOf(
      testing::Ge(static_cast<int>(std::floor(n * p - deviation))),
      testing::Le(static_cast<int>(std::ceil(n * p + deviation))));
}

// What both policies have in common.
class BalancingTest : public testing::TestWithParam<options::BalancingPolicy> {
 protected:
  Subject subject_{GetParam()};
};

}  // namespace mesh::balancing

#endif  // MESH_BALANCING_BALANCING_TEST_UTIL_H_
