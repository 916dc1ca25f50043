#include "mesh/telemetry/caught_observer.h"

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace mesh::telemetry {
namespace {

// Throws on everything that it is told or asked, and counts it.
class Thrower final : public Observer {
 public:
  explicit Thrower(int* asked) : asked_(asked) {}
  void OnCallStart(const CallInfo&, const CallStartEvent&) override { Throw(); }
  void OnPick(const CallInfo&, const PickEvent&) override { Throw(); }
  void OnAttemptEnd(const CallInfo&, const AttemptEvent&) override { Throw(); }
  void OnRetryDecision(const CallInfo&, const RetryEvent&) override { Throw(); }
  void OnRefusal(const CallInfo&, const RefusalEvent&) override { Throw(); }
  void OnCallEnd(const CallInfo&, const CallEvent&) override { Throw(); }
  void OnHealth(const HealthEvent&) override { Throw(); }
  void OnProbe(const ProbeEvent&) override { Throw(); }
  void OnPicker(const PickerEvent&) override { Throw(); }
  bool WantsPicks() const override {
    Throw();
    return true;
  }

 private:
  void Throw() const {
    ++*asked_;
    throw std::runtime_error("an observer's own trouble");
  }
  int* const asked_;
};

// Wants picks, and counts what it is told.
class Counter final : public Observer {
 public:
  explicit Counter(int* ended) : ended_(ended) {}
  void OnCallEnd(const CallInfo&, const CallEvent&) override { ++*ended_; }
  bool WantsPicks() const override { return true; }

 private:
  int* const ended_;
};

class CaughtObserverTest : public testing::Test {
 protected:
  std::vector<std::string> told_;
  const std::shared_ptr<base::ForeignCode> code_ =
      std::make_shared<base::ForeignCode>(
          "observers[0]",
          [this](const std::string& line) { told_.push_back(line); });
};

TEST_F(CaughtObserverTest, NothingThatAnObserverThrowsComesOut) {
  int asked = 0;
  CaughtObserver observer(std::make_shared<Thrower>(&asked), code_);
  const CallInfo call;
  observer.OnCallStart(call, {});
  observer.OnPick(call, {});
  observer.OnAttemptEnd(call, {});
  observer.OnRetryDecision(call, {});
  observer.OnRefusal(call, {});
  observer.OnCallEnd(call, {});
  observer.OnHealth({});
  observer.OnProbe({});
  observer.OnPicker({});
  EXPECT_FALSE(observer.WantsPicks());
  EXPECT_EQ(asked, 10);
  EXPECT_EQ(code_->thrown(), 10u);
  EXPECT_EQ(told_.size(), 1u);
}

TEST_F(CaughtObserverTest, OneThatThrowsNothingIsAsItWas) {
  int ended = 0;
  CaughtObserver observer(std::make_shared<Counter>(&ended), code_);
  observer.OnCallEnd(CallInfo(), {});
  EXPECT_EQ(ended, 1);
  EXPECT_TRUE(observer.WantsPicks());
  EXPECT_EQ(code_->thrown(), 0u);
}

}  // namespace
}  // namespace mesh::telemetry
