#include "mesh/balancing/least_request.h"

#include <memory>
#include <utility>

#include "absl/base/optimization.h"
#include "mesh/balancing/weight_table.h"
#include "mesh/base/prefetch.h"

namespace mesh::balancing {
namespace {

using cluster::LiveEndpoint;
using cluster::Readiness;

// How often a random draw may hit an endpoint that cannot be used before all
// are looked at.
constexpr int kMaxDraws = 8;

// From this many endpoints on, a pick fetches both candidates' cache lines to
// write to them. Among fewer endpoints another thread likely uses the other one
// right now.
constexpr uint32_t kPrefetchFrom = 32;

struct Pair {
  uint32_t first;
  uint32_t second;
};

// Draws any endpoint as likely as any other.
class UniformDraw {
 public:
  explicit UniformDraw(const Tier& tier) : size_(tier.size()) {}

  uint32_t One(base::Random& random) const { return random.Below(size_); }

  // Two that differ, from one random number. `size_` is at least 2.
  Pair Two(base::Random& random) const {
    const uint64_t bits = random();
    const auto first = static_cast<uint32_t>((bits >> 32) * size_ >> 32);
    auto second = static_cast<uint32_t>(
        (bits & 0xffffffff) * (uint64_t{size_} - 1) >> 32);
    second += second >= first;
    return {first, second};
  }

  // Whether the load of `b` is less than the load of `a`.
  static bool Less(int64_t b, uint32_t, int64_t a, uint32_t) { return b < a; }

 private:
  const uint32_t size_;
};

// Draws endpoints in proportion to their weights.
class WeightedDraw {
 public:
  explicit WeightedDraw(const Tier& tier)
      : size_(tier.size()), table_(tier.weights()) {}

  uint32_t One(base::Random& random) const { return table_.Find(random()); }

  Pair Two(base::Random& random) const {
    const uint32_t first = One(random);
    for (int i = 0; i < 3; ++i) {
      const uint32_t second = One(random);
      if (ABSL_PREDICT_TRUE(second != first)) return {first, second};
    }
    // One endpoint has almost all of the weight: any other one will do.
    uint32_t second = random.Below(size_ - 1);
    second += second >= first;
    return {first, second};
  }

  static bool Less(int64_t b, uint32_t b_weight, int64_t a, uint32_t a_weight) {
    return b * a_weight < a * b_weight;
  }

 private:
  const uint32_t size_;
  const WeightTable table_;
};

template <typename Draw>
class LeastRequestPicker final : public TierPicker {
 public:
  explicit LeastRequestPicker(Tier ready)
      : tier_(std::move(ready)), draw_(tier_) {}

  PickResult Pick(const PickArgs& args) const override {
    return PickTo(args, Reach::kAll);
  }
  PickResult PickWithin(const PickArgs& args, Reach reach) const override {
    return PickTo(args, reach);
  }

 private:
  ABSL_ATTRIBUTE_ALWAYS_INLINE PickResult PickTo(const PickArgs& args,
                                                 Reach reach) const {
    if (ABSL_PREDICT_FALSE(!args.tried.empty() ||
                           args.elsewhere_than != nullptr)) {
      return PickCarefully(args, reach, nullptr);
    }
    LiveEndpoint* chosen;
    if (ABSL_PREDICT_TRUE(tier_.size() >= 2)) {
      chosen = Lesser(draw_.Two(*args.random), args);
    } else if (args.trace == nullptr) {
      chosen = tier_.endpoint(0);
    } else {
      return PickCarefully(args, reach, nullptr);
    }
    if (ABSL_PREDICT_FALSE(!chosen->available() || !chosen->Acquire())) {
      return PickInstead(chosen, args, reach);
    }
    return Use(chosen);
  }

  // The one of the two with less load; the first when the loads are equal.
  LiveEndpoint* Lesser(Pair pair, const PickArgs& args) const {
    LiveEndpoint* const a = tier_.endpoint(pair.first);
    LiveEndpoint* const b = tier_.endpoint(pair.second);
    if (tier_.size() >= kPrefetchFrom) {
      base::PrefetchToWrite(a);
      base::PrefetchToWrite(b);
    }
    const int64_t a_load = a->in_flight();
    const int64_t b_load = b->in_flight();
    if (ABSL_PREDICT_FALSE(args.trace != nullptr)) {
      args.trace->candidates[0] = {a, a_load};
      args.trace->candidates[1] = {b, b_load};
      args.trace->considered = 2;
    }
    return Draw::Less(b_load, tier_.weight(pair.second), a_load,
                      tier_.weight(pair.first))
               ? b
               : a;
  }

  // The chosen endpoint cannot be used, or is to have less than its share. It
  // is used after all, or another one is.
  ABSL_ATTRIBUTE_NOINLINE PickResult PickInstead(LiveEndpoint* chosen,
                                                 const PickArgs& args,
                                                 Reach reach) const {
    if (chosen->readiness() == Readiness::kReady) {
      if (args.trace != nullptr) args.trace->by_health = true;
      if (tier_.Accepts(args, chosen) && tier_.Goes(args, chosen) &&
          chosen->Acquire()) {
        return Use(chosen);
      }
    }
    return PickCarefully(args, reach, chosen);
  }

  // Passes over `passed` and over endpoints that the call has tried, that
  // cannot be used, or that are to have less than their share. It takes two
  // others if a few draws find them, otherwise the best of all.
  ABSL_ATTRIBUTE_NOINLINE PickResult PickCarefully(
      const PickArgs& args, Reach reach, const LiveEndpoint* passed) const {
    uint32_t found[2];
    int count = 0;
    bool passed_over = false;
    for (int i = 0; i < kMaxDraws && count < 2 && tier_.size() > 2; ++i) {
      const uint32_t drawn = draw_.One(*args.random);
      LiveEndpoint* const endpoint = tier_.endpoint(drawn);
      if (endpoint == passed || endpoint->readiness() != Readiness::kReady ||
          endpoint->closed() || (count == 1 && drawn == found[0])) {
        continue;
      }
      if (WasTried(args, endpoint)) {
        passed_over = true;
        continue;
      }
      if (!IsElsewhere(args, endpoint) || !tier_.Accepts(args, endpoint)) {
        continue;
      }
      if (ABSL_PREDICT_FALSE(endpoint->health() == cluster::Health::kProbing &&
                             endpoint->share() == 0)) {
        // The place of this one is taken, so it is to be used.
        if (!endpoint->Acquire()) continue;
        if (args.trace != nullptr) {
          args.trace->candidates[0] = {endpoint, endpoint->in_flight() - 1};
          args.trace->considered = 1;
        }
        return Use(endpoint);
      }
      found[count++] = drawn;
    }
    if (args.trace != nullptr) args.trace->preferred_untried = passed_over;
    if (count == 2) {
      LiveEndpoint* const chosen = Lesser({found[0], found[1]}, args);
      if (tier_.Goes(args, chosen) && chosen->Acquire()) return Use(chosen);
    }
    return tier_.PickByScan(args, reach, passed);
  }

  const Tier tier_;
  const Draw draw_;
};

}  // namespace

TierPickerPtr LeastRequest::MakePicker(Tier ready) {
  if (ready.equal_weights()) {
    return std::make_unique<LeastRequestPicker<UniformDraw>>(std::move(ready));
  }
  return std::make_unique<LeastRequestPicker<WeightedDraw>>(std::move(ready));
}

}  // namespace mesh::balancing
