#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/telemetry/metrics.h"

namespace mesh::telemetry {
namespace {

using testing::ElementsAre;

class Recorder : public Observer {
 public:
  explicit Recorder(std::vector<std::string>* events, bool wants_picks = false)
      : events_(events), wants_picks_(wants_picks) {}
  void OnCallStart(const CallInfo&, const CallStartEvent&) override {
    Add("start");
  }
  void OnPick(const CallInfo&, const PickEvent&) override { Add("pick"); }
  void OnPicker(const PickerEvent&) override { Add("picker"); }
  void OnAttemptEnd(const CallInfo&, const AttemptEvent&) override {
    Add("attempt");
  }
  void OnRetryDecision(const CallInfo&, const RetryEvent&) override {
    Add("retry");
  }
  void OnRefusal(const CallInfo&, const RefusalEvent&) override {
    Add("refusal");
  }
  void OnCallEnd(const CallInfo&, const CallEvent&) override { Add("end"); }
  void OnHealth(const HealthEvent&) override { Add("health"); }
  void OnProbe(const ProbeEvent&) override { Add("probe"); }
  void OnPortFailure(const PortFailureEvent&) override { Add("port failure"); }
  bool WantsPicks() const override { return wants_picks_; }

 private:
  void Add(const std::string& event) { events_->push_back(event); }
  std::vector<std::string>* const events_;
  const bool wants_picks_;
};

TEST(FanOutTest, EveryObserverSeesEveryEvent) {
  std::vector<std::string> first, second;
  FanOut all({std::make_shared<Recorder>(&first),
              std::make_shared<Recorder>(&second)});
  const CallInfo call;
  all.OnPicker({});
  all.OnCallStart(call, {});
  all.OnPick(call, {});
  all.OnAttemptEnd(call, {});
  all.OnRetryDecision(call, {});
  all.OnRefusal(call, {});
  all.OnCallEnd(call, {});
  all.OnHealth({});
  all.OnProbe({});
  all.OnPortFailure({});
  EXPECT_THAT(first,
              ElementsAre("picker", "start", "pick", "attempt", "retry",
                          "refusal", "end", "health", "probe", "port failure"));
  EXPECT_EQ(first, second);
  EXPECT_FALSE(all.WantsPicks());
}

TEST(FanOutTest, WantsPicksWhenOneDoes) {
  std::vector<std::string> events;
  EXPECT_TRUE(FanOut({std::make_shared<Recorder>(&events),
                      std::make_shared<Recorder>(&events, true)})
                  .WantsPicks());
}

}  // namespace
}  // namespace mesh::telemetry
