// `observe` is nothing: whatever a policy sees while it observes, calls are
// made as they are where it is off, time for time.

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "mesh/options/mode.h"
#include "mesh/options/service.h"
#include "mesh/simulation/random_scenario.h"
#include "mesh/simulation/simulation.h"
#include "mesh/telemetry/observer.h"

namespace mesh::simulation {
namespace {

using options::Mode;

// All that happens, less what is only observed, line by line.
class Happened final : public telemetry::Observer {
 public:
  bool WantsPicks() const override { return true; }

  void OnCallStart(const telemetry::CallInfo& call,
                   const telemetry::CallStartEvent& event) override {
    Add("call ", event.time, call.method, " ", event.idempotent);
    calls_[&call] = ++last_;
  }
  void OnPick(const telemetry::CallInfo& call,
              const telemetry::PickEvent& event) override {
    Add("pick ", event.time, Of(call), " ", static_cast<int>(event.result), " ",
        event.attempt, " ", Address(event.endpoint), " ", event.random_state);
  }
  void OnAttemptEnd(const telemetry::CallInfo& call,
                    const telemetry::AttemptEvent& event) override {
    Add("attempt ", event.end, Of(call), " ", event.attempt, " ",
        Address(event.endpoint), " ", static_cast<int>(event.code), " ",
        absl::ToUnixNanos(event.start));
  }
  void OnRetryDecision(const telemetry::CallInfo& call,
                       const telemetry::RetryEvent& event) override {
    if (event.observed) return;
    Add("retry ", event.time, Of(call), " ", event.attempt, " ",
        static_cast<int>(event.verdict), " ",
        absl::ToInt64Nanoseconds(event.delay), " ", event.random_state);
  }
  void OnRefusal(const telemetry::CallInfo& call,
                 const telemetry::RefusalEvent& event) override {
    if (event.observed) return;
    Add("refusal ", event.time, Of(call), " ", static_cast<int>(event.guard),
        " ", event.why);
  }
  void OnCallEnd(const telemetry::CallInfo& call,
                 const telemetry::CallEvent& event) override {
    Add("end ", event.end, Of(call), " ", static_cast<int>(event.code), " ",
        event.attempts);
    calls_.erase(&call);
  }
  void OnHealth(const telemetry::HealthEvent& event) override {
    if (event.observed) return;
    Add("health ", event.time, Address(event.endpoint), " ",
        static_cast<int>(event.to), " ", static_cast<int>(event.cause));
  }
  void OnProbe(const telemetry::ProbeEvent& event) override {
    Add("probe ", event.time, Address(event.endpoint), " ",
        static_cast<int>(event.stage));
  }

  const std::vector<std::string>& lines() const { return lines_; }

 private:
  template <typename... Parts>
  void Add(const char* what, absl::Time time, const Parts&... parts) {
    lines_.push_back(
        absl::StrCat(what, absl::ToUnixNanos(time), " ", parts...));
  }
  uint64_t Of(const telemetry::CallInfo& call) { return calls_[&call]; }
  static std::string Address(const cluster::EndpointView& view) {
    return view.endpoint == nullptr ? "-" : view.endpoint->address;
  }

  std::map<const telemetry::CallInfo*, uint64_t> calls_;
  uint64_t last_ = 0;
  std::vector<std::string> lines_;
};

struct Policy {
  const char* name;
  std::function<void(options::ServiceOptions*, Mode)> set;
};

// Sets the mode of a policy of methods, everywhere.
template <typename Member>
std::function<void(options::ServiceOptions*, Mode)> OfMethods(Member member) {
  return [member](options::ServiceOptions* service, Mode mode) {
    (service->policy.*member).mode = mode;
    for (auto& [pattern, policy] : service->methods) {
      (policy.*member).mode = mode;
    }
  };
}
template <typename Member>
std::function<void(options::ServiceOptions*, Mode)> OfGuards(Member member) {
  return [member](options::ServiceOptions* service, Mode mode) {
    (service->guards.*member).mode = mode;
  };
}

const std::vector<Policy>& Policies() {
  using Guards = options::GuardOptions;
  using Method = options::MethodOptions;
  static const auto* const policies = new std::vector<Policy>{
      {"hedging", OfMethods(&Method::hedging)},
      {"fault", OfMethods(&Method::fault)},
      {"method_rate_limit", OfMethods(&Method::rate_limit)},
      {"rate_limit", OfGuards(&Guards::rate_limit)},
      {"caps", OfGuards(&Guards::caps)},
      {"breaker", OfGuards(&Guards::breaker)},
      {"throttle", OfGuards(&Guards::throttle)},
      {"adaptive_concurrency", OfGuards(&Guards::adaptive_concurrency)},
      {"outlier_ejection", OfGuards(&Guards::outlier_ejection)},
      {"silence", OfGuards(&Guards::silence)},
  };
  return *policies;
}

int64_t Number(const char* variable, int64_t otherwise) {
  const char* const text = getenv(variable);
  int64_t number = otherwise;
  if (text != nullptr) {
    EXPECT_TRUE(absl::SimpleAtoi(text, &number)) << variable;
  }
  return number;
}

class ObserveTest : public testing::TestWithParam<Policy> {
 protected:
  static std::vector<std::string> Play(uint64_t seed, Mode mode) {
    Scenario scenario = RandomScenario(seed);
    GetParam().set(&scenario.service, mode);
    Happened happened;
    scenario.options.observer = &happened;
    const auto result =
        Simulate(scenario.service, scenario.cluster, scenario.options);
    EXPECT_TRUE(result.ok()) << result.status();
    return happened.lines();
  }
};

TEST_P(ObserveTest, IsAsOff) {
  const int64_t one = Number("MESH_SIM_SEED", -1);
  const int64_t last = one >= 0 ? one : Number("MESH_SIM_SEEDS", 1000) / 50;
  for (int64_t seed = one >= 0 ? one : 1; seed <= last; ++seed) {
    const std::vector<std::string> off = Play(seed, Mode::kOff);
    const std::vector<std::string> observed = Play(seed, Mode::kObserve);
    if (off == observed) continue;
    size_t i = 0;
    while (i < off.size() && i < observed.size() && off[i] == observed[i]) ++i;
    ADD_FAILURE() << "event " << i
                  << "\n  off:     " << (i < off.size() ? off[i] : "none")
                  << "\n  observe: "
                  << (i < observed.size() ? observed[i] : "none")
                  << "\nAgain: MESH_SIM_SEED=" << seed
                  << " ./run test //mesh/simulation:simulation_test "
                     "--test_filter='*ObserveTest.IsAsOff/"
                  << GetParam().name << "' --test_output=all";
    return;
  }
}

INSTANTIATE_TEST_SUITE_P(Policies, ObserveTest, testing::ValuesIn(Policies()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace mesh::simulation
