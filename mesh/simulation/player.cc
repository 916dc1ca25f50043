#include "mesh/simulation/player.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "mesh/call/call_machine.h"
#include "mesh/call/trace.h"

namespace mesh::simulation {

using call::Action;
namespace trace = call::trace;

namespace {

std::optional<cluster::Readiness> ReadinessOf(absl::string_view name) {
  for (auto readiness :
       {cluster::Readiness::kIdle, cluster::Readiness::kConnecting,
        cluster::Readiness::kReady, cluster::Readiness::kFailed}) {
    if (trace::NameOf(readiness) == name) return readiness;
  }
  return std::nullopt;
}

// More calls that wait than one call has.
constexpr int kMostHeld = 16;

}  // namespace

cluster::LiveEndpointPtr Player::EndpointOf(absl::string_view escaped) {
  cluster::LiveEndpointPtr& live = endpoints_[std::string(escaped)];
  if (live == nullptr) {
    cluster::Endpoint endpoint;
    endpoint.address = trace::Unescape(escaped);
    live = std::make_shared<cluster::LiveEndpoint>(std::move(endpoint));
  }
  return live;
}

bool Player::Recorded::AllFailed() const {
  return !readiness.empty() &&
         std::all_of(readiness.begin(), readiness.end(),
                     [](cluster::Readiness each) {
                       return each == cluster::Readiness::kFailed;
                     });
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
            absl::StrCat("line ", line.number(), ": the member \"", text,
                         "\" is not address=weight=priority=readiness."));
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
  void OnRefusal(const telemetry::CallInfo&,
                 const telemetry::RefusalEvent& event) override {
    Compare(trace::RefusalLine(id_, event));
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

  // ---- The script ----

  const Line* Next() const {
    return next_ < lines_.size() ? &lines_[next_] : nullptr;
  }
  // The verdict on the attempt that ends at `next_`. Null: none was passed.
  const Line* Judgement() const {
    for (size_t i = next_ + 1; i < lines_.size(); ++i) {
      const absl::string_view kind = lines_[i].kind();
      if (kind == "retry" && !lines_[i].Has("observed")) return &lines_[i];
      if (kind != "pick" && kind != "refusal" && kind != "retry") break;
    }
    return nullptr;
  }
  // The first verdict from `next_` on for which guards were asked.
  const Line* Asked() const {
    for (size_t i = next_; i < lines_.size(); ++i) {
      if (lines_[i].kind() == "retry" && !lines_[i].Has("observed") &&
          (lines_[i].Text("code") == "0" ||
           lines_[i].Text("verdict") != "go_on")) {
        return &lines_[i];
      }
    }
    return nullptr;
  }
  static bool IsOneOf(const Line* line, absl::string_view verdict) {
    return line != nullptr && line->Text("verdict") == verdict;
  }

  template <typename Predicate>
  bool AnyLine(Predicate predicate) const {
    return std::any_of(lines_.begin(), lines_.end(), predicate);
  }

  // Whether the call of this pick was to wait, but too many did.
  bool WasKeptFromWaiting(const Line& pick) const {
    if (&pick == lines_.data()) return false;
    const Line& before = *(&pick - 1);
    return before.kind() == "refusal" && before.Text("guard") == "max_waiting";
  }

  void ReadPolicy();
  void ReadFaults();
  void ReadPlan();
  void PlayEvents(call::CallMachine& machine);
  // Whether the call was refused before it picked, and so ended.
  bool WasRefused();
  // Lets guards say at the next event what they said then.
  void SetGuards();
  void SetBudget(bool exhausted);
  // Takes what the caps leave, where they said no then; gives it back.
  void FillCaps();
  void EmptyCaps();
  // Tells the machine of the next event.
  std::optional<Action> Event(call::CallMachine& machine, Action::Kind state);
  call::AttemptOutcome Outcome(const Line& line) const;

  // An event of the machine: where its time is, and its random numbers.
  call::Moment Now(absl::Time now) {
    for (size_t i = next_; i < lines_.size(); ++i) {
      if (!lines_[i].Draws()) continue;
      random_ = base::Random(lines_[i].Hex("random"));
      break;
    }
    return {now, this, &random_};
  }

  // Whom the pick of this line asked. Null: it is not in the trace.
  const Recorded* PickerOf(const Line& line) const {
    if (!line.Has("picker")) return nullptr;
    const auto it = player_->pickers_.find(line.Number("picker"));
    return it == player_->pickers_.end() ? nullptr : &it->second;
  }
  // The one pick that was recorded, as it was.
  balancing::PickResult AsRecorded(const balancing::PickArgs& args,
                                   const Line& line) const;
  static bool SetLoads(const Line& line, const Recorded& recorded);
  bool LooksChanged(const balancing::PickArgs& args, const Line& line) const;

  Player* const player_;
  const std::vector<Line>& lines_;
  const uint64_t id_;
  size_t next_ = 1;
  base::Random random_{0};
  absl::Status difference_;
  options::MethodOptions policy_;
  telemetry::CallInfo info_;
  call::CallPlan plan_;
  // What the budget, the caps and the tracker of latencies said is part of the
  // record: these say so.
  std::optional<resilience::RetryBudget> budget_;
  std::optional<resilience::Admission> admission_;
  std::optional<resilience::LatencyTracker> latency_;
  bool exhausted_ = false;
  int held_waits_ = 0;
  const absl::Status none_ = absl::UnavailableError("as it was recorded");
  mutable absl::Status failed_;        // What the last pick failed with.
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
  const Recorded* const picker = PickerOf(line);
  if (player_->policy_ == options::BalancingPolicy::kRoundRobin ||
      picker == nullptr || line.Text("by_health") == "1" ||
      (args.elsewhere_than != nullptr && line.Text("localities") == "1") ||
      absl::StrContains(line.Text("members"), "=closed")) {
    return AsRecorded(args, line);
  }
  const Recorded& recorded = *picker;
  if (recorded.members.empty() == line.Has("members")) {
    return AsRecorded(args, line);
  }

  // The picker was made from the readiness of then, and looks at what has
  // become of it, and at the loads, now.
  for (size_t i = 0; i < recorded.members.size(); ++i) {
    recorded.members[i].live->set_readiness(recorded.readiness[i]);
  }
  used_ = recorded.balancer->Update(recorded.members, none_,
                                    /*shares=*/nullptr);
  if (line.Has("members") && !SetLoads(line, recorded)) {
    line.Bad("members");
    return AsRecorded(args, line);
  }
  const base::Random random = *args.random;
  const balancing::PickResult result = used_->Pick(args);
  if (result.kind == balancing::PickResult::Kind::kUse &&
      trace::Escape(result.endpoint->endpoint().address) !=
          line.Text("endpoint") &&
      LooksChanged(args, line)) {
    result.endpoint->Release();
    *args.random = random;
    if (args.trace != nullptr) *args.trace = {};
    return AsRecorded(args, line);
  }
  ++player_->count_.picks;
  return result;
}

// Makes endpoints as ready and as loaded as the pick found them. False: `line`
// makes no sense.
bool Player::Stage::SetLoads(const Line& line, const Recorded& recorded) {
  size_t i = 0;
  for (absl::string_view text : absl::StrSplit(line.Text("members"), ',')) {
    const std::vector<absl::string_view> parts = absl::StrSplit(text, '=');
    std::optional<cluster::Readiness> readiness;
    if (parts.size() == 3) readiness = ReadinessOf(parts[2]);
    int64_t in_flight = 0;
    if (!readiness.has_value() || i >= recorded.members.size() ||
        !absl::SimpleAtoi(parts[1], &in_flight) || in_flight > 1'000'000 ||
        in_flight < -1'000'000) {
      return false;
    }
    cluster::LiveEndpoint& live = *recorded.members[i++].live;
    live.set_readiness(*readiness);
    while (live.in_flight() < in_flight && live.Acquire()) {
    }
    while (live.in_flight() > in_flight) live.Release();
  }
  return true;
}

// Whether this was a look at all endpoints while other calls changed their
// loads: only that of the chosen one is recorded as it was.
bool Player::Stage::LooksChanged(const balancing::PickArgs& args,
                                 const Line& line) const {
  if (line.Text("endpoint") == "-" ||
      absl::StrContains(line.Text("candidates"), ',')) {
    return false;
  }
  const cluster::LiveEndpoint* const chosen =
      player_->EndpointOf(line.Text("endpoint")).get();
  if (chosen->readiness() != cluster::Readiness::kReady) return false;
  const auto tried = [&args](const cluster::LiveEndpoint* endpoint) {
    return std::find(args.tried.begin(), args.tried.end(), endpoint) !=
           args.tried.end();
  };
  if (!tried(chosen)) return true;
  const auto& members =
      player_->pickers_.find(line.Number("picker"))->second.members;
  return std::all_of(members.begin(), members.end(), [&](const auto& member) {
    return member.live->readiness() != cluster::Readiness::kReady ||
           tried(member.live.get());
  });
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
  } else if (line.Text("result") != "waited" && !WasKeptFromWaiting(line)) {
    // The call ends with it, unless it has something better to say.
    const auto code =
        static_cast<absl::StatusCode>(lines_.back().Number("code"));
    failed_ = code == absl::StatusCode::kOk
                  ? none_
                  : absl::Status(code, none_.message());
    result.kind = line.Text("result") == "failed"
                      ? balancing::PickResult::Kind::kDrop
                      : balancing::PickResult::Kind::kFail;
    result.status = &failed_;
  }
  const Recorded* const picker = PickerOf(line);
  result.unreachable = picker != nullptr && picker->AllFailed();
  return result;
}

void Player::Stage::ReadPolicy() {
  const Line& begin = lines_.front();
  policy_.retry.max_attempts = static_cast<int>(begin.Number("max_attempts"));
  policy_.retry.codes = options::StatusCodeSet();
  for (int code = 0; code <= 16; ++code) {
    if (begin.Number("codes") >> code & 1) {
      policy_.retry.codes =
          policy_.retry.codes.With(static_cast<absl::StatusCode>(code));
    }
  }
  policy_.retry.initial_backoff = begin.Duration("initial_backoff");
  policy_.retry.max_backoff = begin.Duration("max_backoff");
  policy_.retry.backoff_multiplier = begin.Real("backoff_multiplier");
  policy_.retry.attempt_timeout = begin.Duration("attempt_timeout");
  policy_.hedging.max_attempts =
      static_cast<int>(begin.Number("hedging_max_attempts"));
  // Without a word of a hedge none was due.
  for (const Line& line : lines_) {
    if (line.kind() != "retry" || line.Text("code") != "0") continue;
    for (options::Mode mode :
         {options::Mode::kObserve, options::Mode::kEnforce}) {
      if (begin.Text("hedging") == trace::NameOf(mode)) {
        policy_.hedging.mode = mode;
      }
    }
    policy_.hedging.delay = line.Duration("delay");
    break;
  }
}

// What was drawn is asked for.
void Player::Stage::ReadFaults() {
  for (const Line& line : lines_) {
    if (line.kind() != "refusal" || line.Text("guard") != "fault") continue;
    policy_.fault.mode = line.Text("observed") == "1" ? options::Mode::kObserve
                                                      : options::Mode::kEnforce;
    if (line.Text("code") == "0") {
      plan_.delay_by_header = line.Duration("delay");
    } else {
      plan_.abort_by_header =
          static_cast<absl::StatusCode>(line.Number("code"));
    }
  }
}

bool Player::Stage::WasRefused() {
  const Line* refusal = nullptr;
  for (const Line& line : lines_) {
    if (line.kind() == "pick" || line.kind() == "attempt") return false;
    if (line.kind() == "refusal" && line.Text("observed") == "0" &&
        line.Text("guard") != "fault") {
      refusal = &line;
    }
  }
  if (refusal == nullptr) return false;
  const Line& end = lines_.back();
  if (end.Number("attempts") != 0 ||
      end.Text("code") != refusal->Text("code")) {
    difference_ = absl::FailedPreconditionError(absl::StrCat(
        "the replay differs at line ", end.number(),
        "\n  recorded: ", end.compared(), "\n  replayed: it ends with code ",
        refusal->Text("code"), ", as it was refused with"));
  }
  return true;
}

void Player::Stage::SetGuards() {
  const Line* const asked = Asked();
  SetBudget(IsOneOf(asked, "budget_exhausted"));
  if (!latency_.has_value()) return;
  latency_.emplace();
  if (!IsOneOf(asked, "deadline")) return;
  const absl::Time then = asked->Time("t");
  const absl::Duration left = info_.deadline - then;
  if (asked->Text("code") != "0" && asked->Duration("delay") >= left) return;
  // The method's usual latency said that there was not enough time.
  for (int i = 0; i < 100; ++i) latency_->Record(2 * left, then);
}

void Player::Stage::SetBudget(bool exhausted) {
  if (budget_.has_value() && exhausted == exhausted_) return;
  exhausted_ = exhausted;
  options::RetryBudgetOptions options;
  options.ratio = 0;
  options.min_per_second = exhausted ? 0 : 1e9;
  budget_.emplace(options, info_.start);
}

void Player::Stage::FillCaps() {
  if (!admission_.has_value()) return;
  for (size_t i = next_; i < lines_.size(); ++i) {
    if (i > next_ && lines_[i].kind() == "attempt") break;
    if (lines_[i].Text("guard") != "max_waiting") continue;
    while (admission_->TryWait(nullptr)) ++held_waits_;
    break;
  }
}

void Player::Stage::EmptyCaps() {
  for (; held_waits_ > 0; --held_waits_) admission_->EndWait();
}

call::AttemptOutcome Player::Stage::Outcome(const Line& line) const {
  call::AttemptOutcome outcome;
  outcome.code = static_cast<absl::StatusCode>(line.Number("code"));
  outcome.never_sent = line.Text("never_sent") == "1";
  outcome.attempt_timed_out = line.Text("timed_out") == "1";
  outcome.committed = line.Text("committed") == "1";
  outcome.local = line.Text("local") == "1";
  if (line.Text("pushback") != "none" && line.Has("pushback")) {
    outcome.pushback = line.Duration("pushback");
  }
  return outcome;
}

std::optional<Action> Player::Stage::Event(call::CallMachine& machine,
                                           Action::Kind state) {
  const Line& line = *Next();
  const absl::Time now = line.Time("t");
  const bool ends = line.kind() == "end";
  if (state == Action::Kind::kSetTimer || state == Action::Kind::kWait) {
    if (ends && line.Text("code") == "1") return machine.OnCancelled(Now(now));
    return state == Action::Kind::kWait && !ends
               ? machine.OnEndpointsChanged(Now(now))
               : machine.OnTimer(Now(now));
  }
  // Attempts run. What is not told of one of them is a hedge that is due.
  if (line.kind() != "attempt") return machine.OnTimer(Now(now));
  if (line.Text("given_up") == "1") {
    // The one that is left has committed.
    for (size_t i = next_; i < lines_.size(); ++i) {
      if (lines_[i].kind() != "attempt" || lines_[i].Text("given_up") == "1") {
        continue;
      }
      return machine.OnCommitted(static_cast<int>(lines_[i].Number("attempt")),
                                 Now(now));
    }
    return std::nullopt;
  }
  const call::AttemptOutcome outcome = Outcome(line);
  const Line* const judgement = Judgement();
  if (outcome.code != absl::StatusCode::kOk && judgement == nullptr) {
    if (outcome.committed) {
      machine.OnCommitted(static_cast<int>(line.Number("attempt")), Now(now));
    }
    machine.Abandon(now);
    return std::nullopt;
  }
  if (IsOneOf(judgement, "cancelled")) machine.OnCancelled(Now(now));
  return machine.OnAttemptDone(static_cast<int>(line.Number("attempt")),
                               outcome, Now(now));
}

// What the call's first line says, and what others say of it.
void Player::Stage::ReadPlan() {
  const Line& begin = lines_.front();
  ReadPolicy();
  ReadFaults();
  SetBudget(false);
  plan_.policy = &policy_;
  plan_.budget = &*budget_;
  plan_.observer = this;
  plan_.idempotent = begin.Number("idempotent") != 0;
  plan_.wait_for_ready = begin.Number("wait_for_ready") != 0;
  plan_.replayable = begin.Number("replayable") != 0;
  plan_.unary = begin.Number("unary") != 0;
  if (AnyLine([](const Line& line) { return IsOneOf(&line, "deadline"); })) {
    plan_.needed = &latency_.emplace();
  }
  if (AnyLine([](const Line& line) {
        return line.Text("guard") == "max_waiting";
      })) {
    options::GuardOptions guards;
    guards.caps.max_calls = 0;
    guards.caps.max_waiting = kMostHeld;
    guards.breaker.mode = options::Mode::kOff;
    guards.throttle.mode = options::Mode::kOff;
    guards.adaptive_concurrency.mode = options::Mode::kOff;
    plan_.admission = &admission_.emplace(guards, info_.start);
  }
}

absl::Status Player::Stage::Play() {
  const Line& begin = lines_.front();
  const std::string service = trace::Unescape(begin.Text("service"));
  const std::string method = trace::Unescape(begin.Text("method"));
  info_.service = service;
  info_.method = method;
  info_.start = begin.Time("t");
  info_.deadline = begin.Time("deadline");
  if (WasRefused()) {
    for (const Line& line : lines_) {
      if (difference_.ok()) difference_ = line.bad();
    }
    if (!difference_.ok()) return difference_;
    player_->count_.events += lines_.size() - 1;
    ++player_->count_.calls;
    ++player_->count_.refused;
    return absl::OkStatus();
  }
  ReadPlan();
  if (!begin.bad().ok()) return begin.bad();

  call::CallMachine machine(plan_, &info_);
  PlayEvents(machine);
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
    machine.Abandon(info_.start);
  }
  return result;
}

void Player::Stage::PlayEvents(call::CallMachine& machine) {
  SetGuards();
  FillCaps();
  Action::Kind state = machine.Start(Now(info_.start)).kind;
  EmptyCaps();
  while (difference_.ok() && !machine.finished()) {
    const Line* const line = Next();
    if (line == nullptr) {
      difference_ = absl::FailedPreconditionError(
          absl::StrCat("the replay differs after line ", lines_.back().number(),
                       ": the call ended there, and goes on now"));
      break;
    }
    const size_t before = next_;
    SetGuards();
    FillCaps();
    const std::optional<Action> action = Event(machine, state);
    EmptyCaps();
    if (action.has_value()) state = action->kind;
    if (!line->bad().ok()) difference_ = line->bad();
    if (difference_.ok() && !machine.finished() && next_ == before) {
      difference_ = absl::FailedPreconditionError(absl::StrCat(
          "the replay differs at line ", line->number(),
          "\n  recorded: ", line->compared(), "\n  replayed: nothing happens"));
    }
  }
}

absl::Status Player::Play(const std::vector<Line>& lines) {
  return Stage(this, lines).Play();
}

}  // namespace mesh::simulation
