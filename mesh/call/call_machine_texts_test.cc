// Each text of mesh/call and mesh/resilience that tests/errors/errors.txt lists
// for callers is made to happen here, and none happens that is not listed.

#include <deque>
#include <fstream>
#include <functional>
#include <regex>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/call/call_machine_test_util.h"

namespace mesh::call {
namespace {

using balancing::PickResult;
using Kind = Action::Kind;
using options::Mode;

// "cart: too many <number>" as an expression that takes what it stands for.
std::regex Expression(const std::string& row) {
  static const std::regex special(R"([.?*+(){}\[\]|^$\\])");
  static const std::regex placeholder("<[a-z][^<>]*>");
  return std::regex(std::regex_replace(
      std::regex_replace(row, special, R"(\$&)"), placeholder, "(.+)"));
}

// The rows of the table whose texts a caller may read, of the call machine and
// of what it asks.
class Table {
 public:
  Table() {
    std::ifstream file("tests/errors/errors.txt");
    std::string line;
    bool ours = false;
    while (std::getline(file, line)) {
      absl::string_view text = line;
      if (absl::ConsumePrefix(&text, "-- ")) {
        ours = absl::StartsWith(text, "mesh/call/") ||
               absl::StartsWith(text, "mesh/resilience/");
      } else if (ours && absl::ConsumePrefix(&text, "[")) {
        const size_t end = text.find("] ");
        const std::string row(text.substr(end + 2));
        rows_.push_back(
            {std::string(text.substr(0, end)), row, Expression(row), false});
      }
    }
  }

  bool empty() const { return rows_.empty(); }

  void Saw(const std::string& code, const std::string& text) {
    bool listed = false;
    for (Row& row : rows_) {
      if (!std::regex_match(text, row.expression)) continue;
      EXPECT_TRUE(row.code == "any" || row.code == code)
          << code << ": " << text;
      row.seen = listed = true;
    }
    EXPECT_TRUE(listed) << "not in errors.txt: " << text;
  }

  std::vector<std::string> NotSeen() const {
    std::vector<std::string> rows;
    for (const Row& row : rows_) {
      if (!row.seen) rows.push_back(row.text);
    }
    return rows;
  }

 private:
  struct Row {
    std::string code;
    std::string text;
    std::regex expression;
    bool seen;
  };
  std::vector<Row> rows_;
};

class CallMachineTextsTest : public CallMachineTest {
 protected:
  // A status of mesh's own, with the story behind it where there is one.
  void Saw(const absl::Status& status) {
    std::string text(status.message());
    std::smatch story;
    if (std::regex_search(text, story, std::regex(" \\d+ attempts? w"))) {
      SawStory(text.substr(story.position() + 1));
      text.resize(story.position());
    }
    table.Saw(absl::StatusCodeToString(status.code()), text);
  }
  void SawStory(std::string text) {
    const size_t end = text.find(" No other");
    if (end != std::string::npos) {
      table.Saw("any", text.substr(end + 1));
      text.resize(end);
    }
    table.Saw("any", text);
  }

  // Forgets the last call.
  void Again() {
    machine.reset();
    listener.events.clear();
    info.start = now;
    info.deadline = now + absl::Seconds(10);
    Endpoints(3);
  }
  void Fails(const Action& action) {
    ASSERT_EQ(action.kind, Kind::kFail);
    Saw(action.status);
    Again();
  }
  void Finishes(const Action& action) {
    ASSERT_EQ(action.kind, Kind::kFinish);
    const std::string story = Machine().Story(now);
    ASSERT_TRUE(absl::StartsWith(story, "cart: ")) << story;
    SawStory(story.substr(6));
    Again();
  }

  // The next call is refused by guards of which `prepare` has asked something.
  void Refused(const options::GuardOptions& guards,
               const std::function<void(resilience::Admission*)>& prepare) {
    resilience::Admission admission(guards, now);
    prepare(&admission);
    plan.admission = &admission;
    Fails(Start());
    plan.admission = nullptr;
  }
  bool Admit(resilience::Admission* admission, bool stream = false) {
    tickets.emplace_back();
    tickets.back().stream = stream;
    return !admission
                ->Admit(info.method, policy.rate_limit, now, &random, nullptr,
                        &tickets.back())
                .has_value();
  }
  // So many calls that no server takes.
  void Calls(resilience::Admission* admission, int count) {
    for (int i = 0; i < count; ++i) {
      if (Admit(admission)) {
        admission->OnCallEnd(tickets.back(), absl::StatusCode::kUnavailable,
                             now);
      }
      now += absl::Milliseconds(1);
    }
  }

  void GuardsRefuse() {
    options::GuardOptions guards;
    guards.caps.max_calls = guards.caps.max_waiting = 1;
    Refused(guards, [this](auto* admission) { Admit(admission); });
    PickerSays(PickResult::Kind::kWait);
    Refused(guards, [](auto* admission) { admission->TryWait(nullptr); });

    guards = {};
    guards.caps.max_streams = 1;
    plan.unary = false;
    Refused(guards, [this](auto* admission) { Admit(admission, true); });
    plan.unary = true;

    guards = {};
    guards.breaker.mode = Mode::kEnforce;
    Refused(guards, [this](auto* admission) { Calls(admission, 200); });
    Refused(guards, [this](auto* admission) {
      Calls(admission, 200);
      now += options::BreakerOptions().open_for;
      EXPECT_TRUE(Admit(admission)) << "the probe";
    });

    guards = {};
    guards.throttle.mode = Mode::kEnforce;
    Refused(guards, [this](auto* admission) { Calls(admission, 1000); });

    guards = {};
    guards.adaptive_concurrency.mode = Mode::kEnforce;
    Refused(guards, [this](auto* admission) {
      while (Admit(admission)) {
      }
    });

    guards = {};
    guards.rate_limit = {Mode::kEnforce, 10, 1};
    Refused(guards, [this](auto* admission) { Admit(admission); });
    policy.rate_limit = {Mode::kEnforce, 10, 1};
    Refused({}, [this](auto* admission) { Admit(admission); });
    policy.rate_limit = {};

    options::CapsOptions caps;
    caps.max_calls_per_endpoint = 1;
    plan.caps = &caps;
    for (const auto& endpoint : endpoints) endpoint->Acquire();
    const Action end = Start();
    for (const auto& endpoint : endpoints) endpoint->Release();
    Fails(end);
    plan.caps = nullptr;
  }

  void FaultsAndDeadlinesEndCalls() {
    policy.fault.mode = Mode::kEnforce;
    plan.abort_by_header = absl::StatusCode::kInternal;
    Fails(Start());
    plan.abort_by_header.reset();
    plan.delay_by_header = absl::InfiniteDuration();
    Fails(Timer(Start()));
    plan.delay_by_header.reset();
    policy.fault.mode = Mode::kOff;

    PickerSays(PickResult::Kind::kWait);
    EXPECT_EQ(Start().kind, Kind::kWait);
    now = info.deadline;
    Fails(*Machine().OnTimer(At()));

    plan.wait_for_ready = true;
    PickerSays(PickResult::Kind::kFail,
               absl::UnavailableError("cart: the service has no endpoints: "
                                      "discovery reports an empty list."));
    EXPECT_EQ(Start().kind, Kind::kWait);
    now = info.deadline;
    const Action end = *Machine().OnTimer(At());
    EXPECT_EQ(end.status.message(),
              "cart: the deadline passed while the call waited for an "
              "endpoint, because the service has no endpoints: discovery "
              "reports an empty list.");
    Fails(end);
    plan.wait_for_ready = false;

    Endpoints(1);
    Start();
    EXPECT_EQ(Done(Unavailable()).kind, Kind::kSetTimer);
    now = info.deadline;
    Fails(*Machine().OnTimer(At()));
  }

  void EveryEndHasItsStory() {
    plan.replayable = false;
    Start();
    Finishes(Done(Unavailable()));
    plan.replayable = true;

    plan.idempotent = false;
    Start();
    Finishes(Done(Unavailable()));
    plan.idempotent = true;

    Start();
    Finishes(Done(Ended(absl::StatusCode::kNotFound)));

    AttemptOutcome outcome = Unavailable();
    outcome.committed = true;
    Start();
    Finishes(Done(outcome));

    outcome = Unavailable();
    outcome.pushback = absl::Milliseconds(-1);
    Start();
    Finishes(Done(outcome));

    Start();
    Action action = Done(Unavailable());
    while (!Machine().finished()) {
      action =
          action.kind == Kind::kSetTimer ? Timer(action) : Done(Unavailable());
    }
    Finishes(action);

    Endpoints(1);
    info.deadline = now + absl::Milliseconds(50);
    Start();
    Finishes(Done(Unavailable()));

    Start();
    budget_options.ratio = budget_options.min_per_second = 0;
    budget->SetOptions(budget_options);
    while (budget->TryWithdraw(now)) {
    }
    Finishes(Done(Unavailable()));

    Start();
    EXPECT_FALSE(Machine().OnCancelled(At()).has_value());
    Finishes(Done(Ended(absl::StatusCode::kCancelled)));
  }

  std::deque<resilience::Admission::Ticket> tickets;
  Table table;
};

TEST_F(CallMachineTextsTest, EachRowHappensAndNothingElseDoes) {
  ASSERT_FALSE(table.empty());
  GuardsRefuse();
  FaultsAndDeadlinesEndCalls();
  EveryEndHasItsStory();
  EXPECT_THAT(table.NotSeen(), ::testing::IsEmpty());
}

}  // namespace
}  // namespace mesh::call
