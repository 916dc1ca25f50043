#include "mesh/balancing/round_robin.h"

#include <optional>
#include <utility>

#include "mesh/balancing/weight_table.h"

namespace mesh::balancing {
namespace {

using cluster::LiveEndpoint;
using cluster::Readiness;

// How many turns may fall on endpoints that cannot be used before all are
// looked at.
constexpr int kMaxTurns = 8;

class RoundRobinPicker final : public TierPicker {
 public:
  RoundRobinPicker(Tier ready, std::shared_ptr<RoundRobin::Turns> turns)
      : turns_(std::move(turns)), tier_(std::move(ready)) {
    if (!tier_.equal_weights()) weights_.emplace(tier_.weights());
  }

  PickResult Pick(const PickArgs& args) const override {
    return PickWithin(args, Reach::kAll);
  }
  PickResult PickWithin(const PickArgs& args, Reach reach) const override {
    bool passed_over = false;
    for (int i = 0; i < kMaxTurns; ++i) {
      LiveEndpoint* const endpoint =
          tier_.endpoint(OfTurn(turns_->Next(*args.random)));
      if (endpoint->readiness() != Readiness::kReady) continue;
      if (WasTried(args, endpoint)) {
        passed_over = true;
        continue;
      }
      if (ABSL_PREDICT_FALSE(args.elsewhere_than != nullptr) &&
          !IsElsewhere(args, endpoint)) {
        continue;
      }
      if (ABSL_PREDICT_FALSE(!endpoint->available()) &&
          !(tier_.Accepts(args, endpoint) && tier_.Goes(args, endpoint))) {
        continue;
      }
      const int64_t in_flight = endpoint->in_flight();
      if (!endpoint->Acquire()) continue;
      if (args.trace != nullptr) {
        args.trace->candidates[0] = {endpoint, in_flight};
        args.trace->considered = 1;
        args.trace->preferred_untried = passed_over;
      }
      return Use(endpoint);
    }
    if (args.trace != nullptr) args.trace->preferred_untried = passed_over;
    return tier_.PickByScan(args, reach);
  }

 private:
  uint32_t OfTurn(uint64_t turn) const {
    if (!weights_.has_value()) {
      return static_cast<uint32_t>(turn % tier_.size());
    }
    constexpr uint64_t kGoldenRatio = 0x9e3779b97f4a7c15;  // 2^64 / phi.
    return weights_->Find(turn * kGoldenRatio);
  }

  const std::shared_ptr<RoundRobin::Turns> turns_;
  const Tier tier_;
  std::optional<WeightTable> weights_;  // Empty: all weights are equal.
};

}  // namespace

TierPickerPtr RoundRobin::MakePicker(Tier ready) {
  return std::make_unique<RoundRobinPicker>(std::move(ready), turns_);
}

}  // namespace mesh::balancing
