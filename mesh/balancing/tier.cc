#include "mesh/balancing/tier.h"

#include <memory>
#include <utility>

#include "absl/status/status.h"

namespace mesh::balancing {
namespace {

using cluster::LiveEndpoint;
using cluster::Readiness;

// While some member may become ready.
class WaitPicker final : public Picker {
 public:
  PickResult Pick(const PickArgs&) const override { return {}; }
};

// While there are no members.
class NonePicker final : public Picker {
 public:
  explicit NonePicker(const absl::Status& status) : status_(status) {}

  PickResult Pick(const PickArgs& args) const override {
    if (args.wait_for_ready) return {};
    return {PickResult::Kind::kFail, nullptr, &status_};
  }

 private:
  const absl::Status status_;
};

// While all members have failed. Who can say why is the connection itself, so
// the call is sent there.
class FailedPicker final : public Picker {
 public:
  explicit FailedPicker(std::vector<Member> failed)
      : tier_(std::move(failed), Tier::Eligible::kAny) {}

  PickResult Pick(const PickArgs& args) const override {
    if (args.wait_for_ready) return {};
    return tier_.PickByScan(args);
  }

 private:
  const Tier tier_;
};

// The least priority number with a member that has not failed; if all have,
// the least there is.
uint32_t PriorityInUse(const std::vector<Member>& members) {
  uint32_t least = members.front().priority;
  uint32_t least_not_failed = ~uint32_t{0};
  bool all_failed = true;
  for (const Member& member : members) {
    if (member.priority < least) least = member.priority;
    if (member.live->readiness() == Readiness::kFailed) continue;
    all_failed = false;
    if (member.priority < least_not_failed) least_not_failed = member.priority;
  }
  return all_failed ? least : least_not_failed;
}

}  // namespace

PickerPtr TierBalancer::Update(const std::vector<Member>& members,
                               const absl::Status& none) {
  if (members.empty()) return std::make_shared<NonePicker>(none);

  const uint32_t priority = PriorityInUse(members);
  std::vector<Member> ready;
  std::vector<Member> failed;
  bool some_pending = false;
  for (const Member& member : members) {
    if (member.priority != priority) continue;
    switch (member.live->readiness()) {
      case Readiness::kReady:
        ready.push_back(member);
        break;
      case Readiness::kFailed:
        failed.push_back(member);
        break;
      case Readiness::kIdle:
      case Readiness::kConnecting:
        some_pending = true;
        break;
    }
  }
  if (!ready.empty()) return MakePicker(std::move(ready));
  if (some_pending) return std::make_shared<WaitPicker>();
  return std::make_shared<FailedPicker>(std::move(failed));
}

Tier::Tier(std::vector<Member> members, Eligible eligible)
    : size_(static_cast<uint32_t>(members.size())), eligible_(eligible) {
  endpoints_.reserve(members.size());
  weights_.reserve(members.size());
  pins_.reserve(members.size());
  for (Member& member : members) {
    if (member.weight != members.front().weight) equal_weights_ = false;
    endpoints_.push_back(member.live.get());
    weights_.push_back(member.weight);
    pins_.push_back(std::move(member.live));
  }
}

PickResult Tier::PickByScan(const PickArgs& args) const {
  struct Best {
    LiveEndpoint* endpoint = nullptr;
    int64_t in_flight = 0;
    uint32_t weight = 1;
  };
  for (;;) {
    Best untried, tried;
    const uint32_t start = args.random->Below(size());
    for (uint32_t k = 0; k < size(); ++k) {
      const uint32_t i = k < size() - start ? start + k : start + k - size();
      LiveEndpoint* const endpoint = endpoints_[i];
      if (endpoint->closed()) continue;
      if (eligible_ == Eligible::kReady &&
          endpoint->readiness() != Readiness::kReady) {
        continue;
      }
      Best& best = WasTried(args, endpoint) ? tried : untried;
      const int64_t in_flight = endpoint->in_flight();
      // in_flight / weight < best.in_flight / best.weight
      if (best.endpoint == nullptr ||
          in_flight * best.weight < best.in_flight * weight(i)) {
        best = {endpoint, in_flight, weight(i)};
      }
      if (untried.endpoint != nullptr && untried.in_flight == 0) break;
    }
    const Best& best = untried.endpoint != nullptr ? untried : tried;
    if (best.endpoint == nullptr) return {};
    if (best.endpoint->Acquire()) {
      if (args.trace != nullptr) {
        args.trace->candidates[0] = {best.endpoint, best.in_flight};
        args.trace->considered = 1;
        args.trace->preferred_untried =
            best.endpoint == untried.endpoint &&
            (tried.endpoint != nullptr || args.trace->preferred_untried);
      }
      return Use(best.endpoint);
    }
    // It was closed just now, for good: the next round passes it over.
  }
}

}  // namespace mesh::balancing
