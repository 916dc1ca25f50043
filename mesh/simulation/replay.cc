#include "mesh/simulation/replay.h"

#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "mesh/balancing/load_balancer.h"
#include "mesh/call/call_machine.h"
#include "mesh/call/trace.h"

namespace mesh::simulation {
namespace {

using call::Action;
namespace trace = call::trace;

// One line: what it is, and its words.
class Line {
 public:
  static absl::StatusOr<Line> Parse(absl::string_view text, size_t number) {
    Line line;
    line.number_ = number;
    const size_t bar = text.find(" |");
    line.compared_ = text.substr(0, bar);
    bool first = true;
    for (absl::string_view word :
         absl::StrSplit(text, ' ', absl::SkipEmpty())) {
      if (first) {
        line.kind_ = word;
        first = false;
        continue;
      }
      if (word == "|") continue;
      const size_t equals = word.find('=');
      if (equals == absl::string_view::npos) {
        return absl::InvalidArgumentError(absl::StrCat(
            "line ", number, ": '", word, "' is not of the form key=value"));
      }
      line.words_[word.substr(0, equals)] = word.substr(equals + 1);
    }
    return line;
  }

  absl::string_view kind() const { return kind_; }
  // The part that a replay must yield again.
  absl::string_view compared() const { return compared_; }
  size_t number() const { return number_; }
  bool Has(absl::string_view key) const { return words_.count(key) > 0; }
  // Whether it says where the random generator stood.
  bool Draws() const { return Has("random") && Text("random") != "0"; }
  absl::string_view Text(absl::string_view key) const {
    const auto it = words_.find(key);
    return it == words_.end() ? "" : it->second;
  }

  // The value of `key`, or an error kept in `bad`. "never" is the most.
  int64_t Number(absl::string_view key) const {
    const absl::string_view text = Text(key);
    if (text == "never") return kNever;
    int64_t value = 0;
    if (!absl::SimpleAtoi(text, &value)) Bad(key);
    return value;
  }
  uint64_t Hex(absl::string_view key) const {
    uint64_t value = 0;
    if (!absl::SimpleHexAtoi(Text(key), &value)) Bad(key);
    return value;
  }
  double Real(absl::string_view key) const {
    double value = 0;
    if (!absl::SimpleAtod(Text(key), &value)) Bad(key);
    return value;
  }
  absl::Time Time(absl::string_view key) const {
    const int64_t value = Number(key);
    return value == kNever ? absl::InfiniteFuture()
                           : absl::FromUnixNanos(value);
  }
  absl::Duration Duration(absl::string_view key) const {
    const int64_t value = Number(key);
    return value == kNever ? absl::InfiniteDuration()
                           : absl::Nanoseconds(value);
  }

  // The first word that was asked for and is not there or not a number.
  absl::Status bad() const {
    return bad_.empty() ? absl::OkStatus()
                        : absl::InvalidArgumentError(
                              absl::StrCat("line ", number_, ": ", bad_, "='",
                                           Text(bad_), "' is not a number"));
  }
  void Bad(absl::string_view key) const {
    if (bad_.empty()) bad_ = std::string(key);
  }

 private:
  static constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

  absl::string_view kind_;
  absl::string_view compared_;
  size_t number_ = 0;
  std::map<absl::string_view, absl::string_view> words_;
  mutable std::string bad_;
};

std::optional<cluster::Readiness> ReadinessOf(absl::string_view name) {
  for (auto readiness :
       {cluster::Readiness::kIdle, cluster::Readiness::kConnecting,
        cluster::Readiness::kReady, cluster::Readiness::kFailed}) {
    if (trace::NameOf(readiness) == name) return readiness;
  }
  return std::nullopt;
}

// Plays the calls of one trace.
class Player {
 public:
  explicit Player(config::BalancingPolicy policy) : policy_(policy) {}

  absl::Status AddPicker(const Line& line);
  // `lines` is a call's, from "call" to "end".
  absl::Status Play(const std::vector<Line>& lines);

  const ReplayCount& count() const { return count_; }

 private:
  struct Recorded {
    std::unique_ptr<balancing::LoadBalancer> balancer;
    std::vector<balancing::Member> members;
    std::vector<cluster::Readiness> readiness;
  };

  cluster::LiveEndpointPtr EndpointOf(absl::string_view escaped);

  // One call, played: its lines are the script, and what the machine does is
  // held against them.
  class Stage;

  const config::BalancingPolicy policy_;
  std::map<std::string, cluster::LiveEndpointPtr> endpoints_;
  std::map<int64_t, Recorded> pickers_;
  ReplayCount count_;
};

cluster::LiveEndpointPtr Player::EndpointOf(absl::string_view escaped) {
  cluster::LiveEndpointPtr& live = endpoints_[std::string(escaped)];
  if (live == nullptr) {
    cluster::Endpoint endpoint;
    endpoint.address = trace::Unescape(escaped);
    live = std::make_shared<cluster::LiveEndpoint>(std::move(endpoint));
  }
  return live;
}

absl::Status Player::AddPicker(const Line& line) {
  Recorded recorded;
  recorded.balancer = balancing::MakeLoadBalancer(policy_);
  if (line.Has("members")) {
    for (absl::string_view text : absl::StrSplit(line.Text("members"), ',')) {
      const std::vector<absl::string_view> parts = absl::StrSplit(text, '=');
      balancing::Member member;
      std::optional<cluster::Readiness> readiness;
      if (parts.size() == 4) readiness = ReadinessOf(parts[3]);
      if (!readiness.has_value() ||
          !absl::SimpleAtoi(parts[1], &member.weight) || member.weight == 0 ||
          !absl::SimpleAtoi(parts[2], &member.priority)) {
        return absl::InvalidArgumentError(
            absl::StrCat("line ", line.number(), ": member '", text,
                         "' is not address=weight=priority=readiness"));
      }
      member.live = EndpointOf(parts[0]);
      recorded.members.push_back(std::move(member));
      recorded.readiness.push_back(*readiness);
    }
  }
  const int64_t id = line.Number("id");
  if (!line.bad().ok()) return line.bad();
  pickers_[id] = std::move(recorded);
  return absl::OkStatus();
}

class Player::Stage final : public telemetry::Observer,
                            public balancing::Picker {
 public:
  Stage(Player* player, const std::vector<Line>& lines)
      : player_(player),
        lines_(lines),
        id_(static_cast<uint64_t>(lines.front().Number("id"))) {}

  absl::Status Play();

  // ---- balancing::Picker: the real policy, as the world was then ----

  balancing::PickResult Pick(const balancing::PickArgs& args) const override;

  // ---- telemetry::Observer: each event against the script ----

  bool WantsPicks() const override { return true; }
  void OnPick(const telemetry::CallInfo&,
              const telemetry::PickEvent& event) override {
    Compare(trace::PickLine(id_, event));
  }
  void OnAttemptEnd(const telemetry::CallInfo&,
                    const telemetry::AttemptEvent& event) override {
    Compare(trace::AttemptLine(id_, event));
  }
  void OnRetryDecision(const telemetry::CallInfo&,
                       const telemetry::RetryEvent& event) override {
    Compare(trace::RetryLine(id_, event));
  }
  void OnCallEnd(const telemetry::CallInfo&,
                 const telemetry::CallEvent& event) override {
    Compare(trace::EndLine(id_, event));
  }

 private:
  void Compare(const std::string& line) {
    if (!difference_.ok()) return;
    const absl::string_view expected =
        next_ < lines_.size() ? lines_[next_].compared() : "nothing";
    if (line == expected) {
      ++next_;
      ++player_->count_.events;
      return;
    }
    difference_ = absl::FailedPreconditionError(absl::StrCat(
        "the replay differs at line ",
        next_ < lines_.size() ? lines_[next_].number() : lines_.back().number(),
        "\n  recorded: ", expected, "\n  replayed: ", line));
  }

  // An event of the machine: where its time is, and its random numbers.
  call::Moment Now(absl::Time now) {
    for (size_t i = next_; i < lines_.size(); ++i) {
      if (!lines_[i].Draws()) continue;
      random_ = base::Random(lines_[i].Hex("random"));
      break;
    }
    return {now, this, &random_};
  }

  // The one pick that was recorded, as it was.
  balancing::PickResult AsRecorded(const balancing::PickArgs& args,
                                   const Line& line) const;

  Player* const player_;
  const std::vector<Line>& lines_;
  const uint64_t id_;
  size_t next_ = 1;
  base::Random random_{0};
  absl::Status difference_;
  const absl::Status none_ = absl::UnavailableError("as it was recorded");
  mutable balancing::PickerPtr used_;  // What the last result points into.
};

balancing::PickResult Player::Stage::Pick(
    const balancing::PickArgs& args) const {
  // The pick that is expected next: attempts and verdicts may be told first.
  size_t at = next_;
  while (at < lines_.size() && lines_[at].kind() != "pick") ++at;
  if (at == lines_.size()) {
    // None was recorded: this is a difference, and will be found as one.
    return {balancing::PickResult::Kind::kFail, nullptr, &none_};
  }
  const Line& line = lines_[at];
  const auto picker = line.Has("picker")
                          ? player_->pickers_.find(line.Number("picker"))
                          : player_->pickers_.end();
  if (player_->policy_ == config::BalancingPolicy::kRoundRobin ||
      picker == player_->pickers_.end() ||
      absl::StrContains(line.Text("members"), "=closed")) {
    return AsRecorded(args, line);
  }
  const Recorded& recorded = picker->second;
  if (recorded.members.empty() == line.Has("members")) {
    return AsRecorded(args, line);
  }

  // The picker was made from the readiness of then, and looks at what has
  // become of it, and at the loads, now.
  for (size_t i = 0; i < recorded.members.size(); ++i) {
    recorded.members[i].live->set_readiness(recorded.readiness[i]);
  }
  used_ = recorded.balancer->Update(recorded.members, none_);
  if (line.Has("members")) {
    size_t i = 0;
    for (absl::string_view text : absl::StrSplit(line.Text("members"), ',')) {
      const std::vector<absl::string_view> parts = absl::StrSplit(text, '=');
      std::optional<cluster::Readiness> readiness;
      if (parts.size() == 3) readiness = ReadinessOf(parts[2]);
      int64_t in_flight = 0;
      if (!readiness.has_value() || i >= recorded.members.size() ||
          !absl::SimpleAtoi(parts[1], &in_flight) || in_flight > 1'000'000 ||
          in_flight < -1'000'000) {
        line.Bad("members");
        return AsRecorded(args, line);
      }
      cluster::LiveEndpoint& live = *recorded.members[i++].live;
      live.set_readiness(*readiness);
      while (live.in_flight() < in_flight && live.Acquire()) {
      }
      while (live.in_flight() > in_flight) live.Release();
    }
  }
  ++player_->count_.picks;
  return used_->Pick(args);
}

balancing::PickResult Player::Stage::AsRecorded(const balancing::PickArgs& args,
                                                const Line& line) const {
  ++player_->count_.trusted;
  // A pick draws as many numbers as it needs; the next line that has one says
  // where the generator stood after it. (That line may be of a later event,
  // which begins with its own.)
  for (size_t i = next_; i < lines_.size(); ++i) {
    if (lines_[i].number() > line.number() && lines_[i].Draws()) {
      *args.random = base::Random(lines_[i].Hex("random"));
      break;
    }
  }
  if (args.trace != nullptr && line.Has("candidates")) {
    for (absl::string_view text :
         absl::StrSplit(line.Text("candidates"), ',')) {
      const std::pair<absl::string_view, absl::string_view> parts =
          absl::StrSplit(text, absl::MaxSplits('=', 1));
      int64_t in_flight = 0;
      if (args.trace->considered == 2 ||
          !absl::SimpleAtoi(parts.second, &in_flight)) {
        line.Bad("candidates");
        break;
      }
      args.trace->candidates[args.trace->considered++] = {
          player_->EndpointOf(parts.first).get(), in_flight};
    }
  }
  balancing::PickResult result;
  if (line.Text("endpoint") != "-") {
    result.kind = balancing::PickResult::Kind::kUse;
    result.endpoint = player_->EndpointOf(line.Text("endpoint")).get();
    result.endpoint->Acquire();
  } else if (line.Text("result") != "waited") {
    result.kind = balancing::PickResult::Kind::kFail;
    result.status = &none_;
  }
  return result;
}

absl::Status Player::Stage::Play() {
  const Line& begin = lines_.front();
  config::MethodOptions policy;
  policy.retry.max_attempts = static_cast<int>(begin.Number("max_attempts"));
  policy.retry.codes = config::StatusCodeSet();
  for (int code = 0; code <= 16; ++code) {
    if (begin.Number("codes") >> code & 1) {
      policy.retry.codes =
          policy.retry.codes.With(static_cast<absl::StatusCode>(code));
    }
  }
  policy.retry.initial_backoff = begin.Duration("initial_backoff");
  policy.retry.max_backoff = begin.Duration("max_backoff");
  policy.retry.backoff_multiplier = begin.Real("backoff_multiplier");
  policy.retry.attempt_timeout = begin.Duration("attempt_timeout");

  const std::string service = trace::Unescape(begin.Text("service"));
  const std::string method = trace::Unescape(begin.Text("method"));
  telemetry::CallInfo info;
  info.service = service;
  info.method = method;
  info.start = begin.Time("t");
  info.deadline = begin.Time("deadline");

  // What the budget said is part of the record. It says yes until the call is
  // denied, which is the end of its retries.
  config::RetryBudgetOptions yes;
  yes.ratio = 0;
  yes.min_per_second = 1e9;
  config::RetryBudgetOptions no = yes;
  no.min_per_second = 0;
  resilience::RetryBudget budget(yes, info.start);

  call::CallPlan plan;
  plan.policy = &policy;
  plan.budget = &budget;
  plan.observer = this;
  plan.idempotent = begin.Number("idempotent") != 0;
  plan.wait_for_ready = begin.Number("wait_for_ready") != 0;
  plan.replayable = begin.Number("replayable") != 0;
  if (!begin.bad().ok()) return begin.bad();

  call::CallMachine machine(plan, &info);
  std::optional<Action> action = machine.Start(Now(info.start));
  while (difference_.ok() && !machine.finished()) {
    if (next_ >= lines_.size()) {
      difference_ = absl::FailedPreconditionError(
          absl::StrCat("the replay differs after line ", lines_.back().number(),
                       ": the call ended there, and goes on now"));
      break;
    }
    const Line& line = lines_[next_];
    const absl::Time now = line.Time("t");
    const bool ends = line.kind() == "end";
    switch (action->kind) {
      case Action::Kind::kStartAttempt: {
        call::AttemptOutcome outcome;
        outcome.code = static_cast<absl::StatusCode>(line.Number("code"));
        outcome.never_sent = line.Text("never_sent") == "1";
        outcome.attempt_timed_out = line.Text("timed_out") == "1";
        outcome.committed = line.Text("committed") == "1";
        if (line.Text("pushback") != "none" && line.Has("pushback")) {
          outcome.pushback = line.Duration("pushback");
        }
        // The verdict on it, after what is looked at before.
        size_t verdict = next_ + 1;
        while (verdict < lines_.size() && lines_[verdict].kind() == "pick") {
          ++verdict;
        }
        const bool judged =
            verdict < lines_.size() && lines_[verdict].kind() == "retry";
        if (outcome.code != absl::StatusCode::kOk && !judged) {
          machine.Abandon(now);
          action.reset();
          break;
        }
        if (judged && lines_[verdict].Text("verdict") == "cancelled") {
          machine.OnCancelled(Now(now));
        }
        if (judged && lines_[verdict].Text("verdict") == "budget_exhausted") {
          budget.SetOptions(no);
        }
        action = machine.OnAttemptDone(machine.attempts(), outcome, Now(now));
        break;
      }
      case Action::Kind::kSetTimer:
      case Action::Kind::kWait: {
        const bool cancelled = ends && line.Text("code") == "1";
        const bool waits = action->kind == Action::Kind::kWait;
        action = cancelled        ? machine.OnCancelled(Now(now))
                 : waits && !ends ? machine.OnEndpointsChanged(Now(now))
                                  : machine.OnTimer(Now(now));
        break;
      }
      case Action::Kind::kGoOn:
      case Action::Kind::kFinish:
      case Action::Kind::kFail:
        break;
    }
    if (!line.bad().ok()) difference_ = line.bad();
    if (difference_.ok() && !machine.finished() && !action.has_value()) {
      difference_ = absl::FailedPreconditionError(absl::StrCat(
          "the replay differs at line ", line.number(),
          "\n  recorded: ", line.compared(), "\n  replayed: nothing happens"));
    }
  }
  for (const Line& line : lines_) {
    if (difference_.ok() && !line.bad().ok()) difference_ = line.bad();
  }
  if (difference_.ok() && next_ < lines_.size()) {
    difference_ = absl::FailedPreconditionError(absl::StrCat(
        "the replay differs at line ", lines_[next_].number(), "\n  recorded: ",
        lines_[next_].compared(), "\n  replayed: the call has ended"));
  }
  absl::Status result = difference_;
  if (result.ok()) {
    ++player_->count_.calls;
  } else {
    machine.Abandon(info.start);
  }
  return result;
}

absl::Status Player::Play(const std::vector<Line>& lines) {
  return Stage(this, lines).Play();
}

}  // namespace

absl::StatusOr<ReplayCount> Replay(absl::string_view text) {
  std::map<int64_t, std::vector<Line>> calls;
  std::optional<Player> player;
  size_t number = 0;
  for (absl::string_view each : absl::StrSplit(text, '\n')) {
    ++number;
    each = absl::StripAsciiWhitespace(each);
    if (each.empty() || each[0] == '#') continue;
    absl::StatusOr<Line> line = Line::Parse(each, number);
    if (!line.ok()) return line.status();
    if (!player.has_value()) {
      const absl::string_view balancing = line->Text("balancing");
      if (line->kind() != "mesh-trace" || line->Text("version") != "1" ||
          (balancing != "least_request" && balancing != "round_robin")) {
        return absl::InvalidArgumentError(
            absl::StrCat("line ", number,
                         ": a trace begins with 'mesh-trace version=1 "
                         "balancing=least_request' or round_robin"));
      }
      player.emplace(balancing == "round_robin"
                         ? config::BalancingPolicy::kRoundRobin
                         : config::BalancingPolicy::kLeastRequest);
      continue;
    }
    if (line->kind() == "picker") {
      if (absl::Status status = player->AddPicker(*line); !status.ok()) {
        return status;
      }
      continue;
    }
    const int64_t id = line->Number("id");
    if (!line->bad().ok()) return line->bad();
    std::vector<Line>& lines = calls[id];
    if (lines.empty() != (line->kind() == "call")) {
      return absl::InvalidArgumentError(
          absl::StrCat("line ", number, ": call ", id,
                       lines.empty() ? " has not begun" : " begins again"));
    }
    lines.push_back(*std::move(line));
    if (lines.back().kind() != "end") continue;
    if (absl::Status status = player->Play(lines); !status.ok()) return status;
    calls.erase(id);
  }
  if (!player.has_value()) {
    return absl::InvalidArgumentError("the trace is empty");
  }
  return player->count();
}

}  // namespace mesh::simulation
