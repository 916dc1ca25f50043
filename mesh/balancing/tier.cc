#include "mesh/balancing/tier.h"

#include <map>
#include <memory>
#include <utility>

#include "absl/base/attributes.h"
#include "absl/base/optimization.h"
#include "absl/status/status.h"

namespace mesh::balancing {
namespace {

using cluster::LiveEndpoint;
using cluster::LoadShares;
using cluster::Readiness;

// The picker while some member may become ready.
class WaitPicker final : public Picker {
 public:
  PickResult Pick(const PickArgs&) const override { return {}; }
};

// The picker while there are no members.
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

// The picker while all members have failed. Only the connection itself can say
// why, so the call is sent there.
class FailedPicker final : public Picker {
 public:
  explicit FailedPicker(std::vector<Member> failed)
      : tier_(std::move(failed), Tier::Eligible::kAny) {}

  PickResult Pick(const PickArgs& args) const override {
    PickResult result;
    if (!args.wait_for_ready) result = tier_.PickByScan(args, Reach::kAll);
    result.unreachable = true;
    return result;
  }

 private:
  const Tier tier_;
};

// The picker when several priorities have members that are ready.
class PriorityPicker final : public Picker {
 public:
  PriorityPicker(std::map<uint32_t, TierPickerPtr> tiers,
                 std::shared_ptr<const LoadShares> shares)
      : shares_(std::move(shares)), tier_of_(shares_->priorities().size()) {
    for (auto& [priority, tier] : tiers) {
      const size_t place = shares_->PlaceOf(priority);
      if (place < tier_of_.size()) tier_of_[place] = tier.get();
      tiers_.push_back(std::move(tier));
    }
  }

  PickResult Pick(const PickArgs& args) const override {
    const TierPicker* const drawn = Drawn(args);
    if (ABSL_PREDICT_FALSE(shares_->to_probe() < tier_of_.size())) {
      const PickResult result = PickToProbe(drawn, args);
      if (result.kind == PickResult::Kind::kUse) return result;
    }
    if (ABSL_PREDICT_TRUE(drawn != nullptr)) {
      const PickResult result = drawn->PickWithin(args, Reach::kUntried);
      if (result.kind == PickResult::Kind::kUse) return result;
    }
    return PickElsewhere(drawn, args);
  }

 private:
  // The tier of the priority that the call has drawn, or draws now. Null: none
  // of its members is ready.
  const TierPicker* Drawn(const PickArgs& args) const {
    size_t place = tier_of_.size();
    if (args.priority != nullptr && *args.priority != kNoPriority) {
      place = shares_->PlaceOf(*args.priority);
    }
    if (place == tier_of_.size()) {
      place = shares_->Draw(args.random);
      if (args.priority != nullptr) {
        *args.priority = shares_->priorities()[place];
      }
    }
    if (args.trace != nullptr && (place != 0 || !shares_->FirstCarriesAll() ||
                                  shares_->to_probe() < tier_of_.size())) {
      args.trace->by_health = true;
    }
    return tier_of_[place];
  }

  // No call draws that priority, so this one tries it, if no other call does.
  ABSL_ATTRIBUTE_NOINLINE PickResult PickToProbe(const TierPicker* drawn,
                                                 const PickArgs& args) const {
    const size_t place = shares_->to_probe();
    if (!args.tried.empty() || place >= tier_of_.size()) return {};
    const TierPicker* const probed = tier_of_[place];
    if (probed == nullptr || probed == drawn) return {};
    return probed->PickWithin(args, Reach::kUntried);
  }

  // `drawn` has no endpoint that is untried and in use.
  ABSL_ATTRIBUTE_NOINLINE PickResult PickElsewhere(const TierPicker* drawn,
                                                   const PickArgs& args) const {
    for (Reach reach : {Reach::kUntried, Reach::kUsable, Reach::kAll}) {
      if (reach == Reach::kUsable && args.tried.empty() &&
          (args.coin == nullptr || !args.coin->SendsElsewhere())) {
        continue;
      }
      if (reach != Reach::kUntried && drawn != nullptr) {
        const PickResult result = drawn->PickWithin(args, reach);
        if (result.kind == PickResult::Kind::kUse) return result;
      }
      for (const TierPickerPtr& tier : tiers_) {
        if (tier.get() == drawn) continue;
        const PickResult result = tier->PickWithin(args, reach);
        if (result.kind == PickResult::Kind::kUse) return result;
      }
    }
    return {};
  }

  const std::shared_ptr<const LoadShares> shares_;
  std::vector<TierPickerPtr> tiers_;  // In order; those with a ready member.
  // By index in shares_. Null: no member is ready.
  std::vector<const TierPicker*> tier_of_;
};

}  // namespace

PickerPtr TierBalancer::Update(
    const std::vector<Member>& members, const absl::Status& none,
    const std::shared_ptr<const LoadShares>& shares) {
  if (members.empty()) return std::make_shared<NonePicker>(none);

  std::map<uint32_t, std::vector<Member>> ready;
  std::map<uint32_t, std::vector<Member>> failed;
  bool some_pending = false;
  for (const Member& member : members) {
    switch (member.live->readiness()) {
      case Readiness::kReady:
        ready[member.priority].push_back(member);
        break;
      case Readiness::kFailed:
        failed[member.priority].push_back(member);
        break;
      case Readiness::kIdle:
      case Readiness::kConnecting:
        some_pending = true;
        break;
    }
  }
  if (ready.empty()) {
    if (some_pending) return std::make_shared<WaitPicker>();
    return std::make_shared<FailedPicker>(std::move(failed.begin()->second));
  }
  std::map<uint32_t, TierPickerPtr> tiers;
  for (auto& [priority, its] : ready) {
    tiers[priority] = MakePicker(Tier(std::move(its), Tier::Eligible::kReady));
  }
  if (tiers.size() == 1) return std::move(tiers.begin()->second);
  if (shares != nullptr) {
    return std::make_shared<PriorityPicker>(std::move(tiers), shares);
  }
  std::vector<uint32_t> priorities;
  for (const auto& [priority, unused] : tiers) priorities.push_back(priority);
  return std::make_shared<PriorityPicker>(
      std::move(tiers), std::make_shared<LoadShares>(std::move(priorities)));
}

bool IsElsewhere(const PickArgs& args, const LiveEndpoint* endpoint) {
  if (args.elsewhere_than == nullptr) return true;
  const cluster::Locality unknown;
  const cluster::Locality& there = args.elsewhere_than->endpoint().locality();
  if (there == unknown) return true;
  const cluster::Locality& here = endpoint->endpoint().locality();
  return !(here == unknown) && !(here == there);
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

bool Tier::Accepts(const PickArgs& args, LiveEndpoint* endpoint) const {
  if (ABSL_PREDICT_TRUE(endpoint->available())) return true;
  if (args.trace != nullptr) args.trace->by_health = true;
  if (IsSentAway(args, endpoint)) return false;
  const uint32_t share = endpoint->share();
  if (share == 255) return true;
  if (share == 0) return false;
  if (endpoint->health() == cluster::Health::kProbing) {
    // An endpoint that has failed this call already is not to be tried on
    // trial.
    return args.tried.empty() && args.elsewhere_than == nullptr &&
           endpoint->ClaimProbe();
  }
  return args.random->Below(255) < share;
}

bool Tier::Goes(const PickArgs& args, LiveEndpoint* endpoint) const {
  if (args.coin == nullptr || endpoint->health() != cluster::Health::kTrial) {
    return true;
  }
  if (args.trace != nullptr) args.trace->by_health = true;
  Coin& coin = *args.coin;
  const uint32_t trial = endpoint->trial();
  // 0: the trial has just ended. Or the coin was tossed for another one, and
  // nothing else is left.
  if (trial == 0 || coin.ticket) return true;
  coin.ticket = cluster::TrialTicket(trial, args.random->Below(2) == 0);
  return coin.ticket.here();
}

PickResult Tier::PickByScan(const PickArgs& args, Reach reach,
                            const LiveEndpoint* passed) const {
  enum Kind { kElsewhere, kUntried, kTried, kOut, kOutAndTried, kKinds };
  // Within `reach`: the kinds before this one.
  const Kind end = reach == Reach::kUntried  ? kTried
                   : reach == Reach::kUsable ? kOut
                                             : kKinds;
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
      if (endpoint->closed() || IsFull(args, endpoint)) continue;
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
      if (WasTried(args, endpoint) || IsSentAway(args, endpoint)) {
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
    while (kind < end && bests[kind].endpoint == nullptr) ++kind;
    if (kind == end) return {};
    const Best& best = bests[kind];
    if (!Goes(args, best.endpoint)) continue;
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
