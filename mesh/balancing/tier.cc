#include "mesh/balancing/tier.h"

#include <functional>
#include <map>
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
      : tier_(std::move(failed), Tier::Eligible::kAny, /*next=*/nullptr) {}

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
  // From the last one, so that each knows the one behind it.
  std::map<uint32_t, std::vector<Member>, std::greater<>> ready;
  std::vector<Member> failed;
  bool some_pending = false;
  for (const Member& member : members) {
    if (member.priority < priority) continue;
    switch (member.live->readiness()) {
      case Readiness::kReady:
        ready[member.priority].push_back(member);
        break;
      case Readiness::kFailed:
        if (member.priority == priority) failed.push_back(member);
        break;
      case Readiness::kIdle:
      case Readiness::kConnecting:
        if (member.priority == priority) some_pending = true;
        break;
    }
  }
  if (ready.count(priority) > 0) {
    PickerPtr picker;
    for (auto& [unused, tier] : ready) {
      picker = MakePicker(
          Tier(std::move(tier), Tier::Eligible::kReady, std::move(picker)));
    }
    return picker;
  }
  if (some_pending) return std::make_shared<WaitPicker>();
  return std::make_shared<FailedPicker>(std::move(failed));
}

bool IsElsewhere(const PickArgs& args, const LiveEndpoint* endpoint) {
  if (args.elsewhere_than == nullptr) return true;
  const cluster::Locality unknown;
  const cluster::Locality& there = args.elsewhere_than->endpoint().locality;
  if (there == unknown) return true;
  const cluster::Locality& here = endpoint->endpoint().locality;
  return !(here == unknown) && !(here == there);
}

Tier::Tier(std::vector<Member> members, Eligible eligible, PickerPtr next)
    : size_(static_cast<uint32_t>(members.size())),
      eligible_(eligible),
      next_(std::move(next)) {
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

bool Tier::Accepts(const PickArgs& args, LiveEndpoint* endpoint) const {
  const uint32_t share = endpoint->share();
  if (ABSL_PREDICT_TRUE(share == 255)) return true;
  if (args.trace != nullptr) args.trace->by_health = true;
  if (share == 0) return false;
  if (endpoint->health() == cluster::Health::kProbing) {
    // What has failed once already is not to be the trial.
    return args.tried.empty() && args.elsewhere_than == nullptr &&
           endpoint->ClaimProbe();
  }
  return args.random->Below(255) < share;
}

PickResult Tier::PickByScan(const PickArgs& args,
                            const LiveEndpoint* passed) const {
  enum Kind { kElsewhere, kUntried, kTried, kOut, kOutAndTried, kKinds };
  struct Best {
    LiveEndpoint* endpoint = nullptr;
    int64_t in_flight = 0;
    uint32_t weight = 1;
  };
  for (;;) {
    Best bests[kKinds];
    bool some_tried = false;
    const uint32_t start = args.random->Below(size());
    for (uint32_t k = 0; k < size(); ++k) {
      const uint32_t i = k < size() - start ? start + k : start + k - size();
      LiveEndpoint* const endpoint = endpoints_[i];
      if (endpoint->closed()) continue;
      if (eligible_ == Eligible::kReady &&
          endpoint->readiness() != Readiness::kReady) {
        continue;
      }
      const int64_t in_flight = endpoint->in_flight();
      const bool is_out = eligible_ == Eligible::kReady &&
                          (endpoint->share() == 0 ||
                           (endpoint->health() == cluster::Health::kProbing &&
                            endpoint->share() == LiveEndpoint::kProbeFree));
      if (is_out && args.trace != nullptr) args.trace->by_health = true;
      Kind kind;
      if (WasTried(args, endpoint)) {
        some_tried = true;
        kind = is_out ? kOutAndTried : kTried;
      } else if (eligible_ == Eligible::kAny) {
        kind = kElsewhere;
      } else if (is_out) {
        // The place of one that is probed is taken only to use it.
        if (endpoint != passed && Accepts(args, endpoint) &&
            endpoint->Acquire()) {
          if (args.trace != nullptr) {
            args.trace->candidates[0] = {endpoint, in_flight};
            args.trace->considered = 1;
          }
          return Use(endpoint);
        }
        kind = kOut;
      } else {
        kind = endpoint != passed && Accepts(args, endpoint) &&
                       IsElsewhere(args, endpoint)
                   ? kElsewhere
                   : kUntried;
      }
      Best& best = bests[kind];
      // in_flight / weight < best.in_flight / best.weight
      if (best.endpoint == nullptr ||
          in_flight * best.weight < best.in_flight * weight(i)) {
        best = {endpoint, in_flight, weight(i)};
      }
      if (kind == kElsewhere && in_flight == 0) break;
    }
    int kind = kElsewhere;
    while (kind < kKinds && bests[kind].endpoint == nullptr) ++kind;
    if (kind >= kOut && next_ != nullptr) {
      PickArgs behind = args;
      behind.only_healthy = true;
      const PickResult result = next_->Pick(behind);
      if (result.kind == PickResult::Kind::kUse) return result;
    }
    if (kind == kKinds || (kind >= kOut && args.only_healthy)) return {};
    const Best& best = bests[kind];
    if (best.endpoint->Acquire()) {
      if (args.trace != nullptr) {
        args.trace->candidates[0] = {best.endpoint, best.in_flight};
        args.trace->considered = 1;
        args.trace->preferred_untried =
            kind != kTried && kind != kOutAndTried &&
            (some_tried || args.trace->preferred_untried);
      }
      return Use(best.endpoint);
    }
    // It was closed just now, for good: the next round passes it over.
  }
}

}  // namespace mesh::balancing
