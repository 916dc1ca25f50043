#include "mesh/resilience/health/trial.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace mesh::resilience {
namespace {

struct Rates {
  double here;
  double elsewhere;
};
// Shares of calls that are bad.
constexpr Rates kRatePairs[] = {
    {0.10, 0.01}, {0.30, 0.02}, {0.60, 0.04}, {0.97, 0.03}, {0.60, 0.25}};

// log(2 * P(side | bad or not)) of each pair.
struct Steps {
  double of[std::size(kRatePairs)][2][2];  // [bad][here]
};
Steps MakeSteps() {
  Steps steps;
  for (size_t i = 0; i < std::size(kRatePairs); ++i) {
    const Rates& rates = kRatePairs[i];
    for (bool bad : {false, true}) {
      const double here = bad ? rates.here : 1 - rates.here;
      const double elsewhere = bad ? rates.elsewhere : 1 - rates.elsewhere;
      steps.of[i][bad][true] = std::log(2 * here / (here + elsewhere));
      steps.of[i][bad][false] = std::log(2 * elsewhere / (here + elsewhere));
    }
  }
  return steps;
}
const Steps& TheSteps() {
  static const Steps steps = MakeSteps();
  return steps;
}

// Calls that end within this time may be slow for one cause. (What lasts for
// longer is silence, for most services.)
constexpr int64_t kMoment = 50 * kMillisecond;
// log(2): what one call can say at most.
constexpr double kMostOfACall = 0.6931471805599453;

// How many more calls may have counted elsewhere than on the endpoint. (A fair
// coin is seldom as uneven early in a trial.)
constexpr uint32_t kMostAhead = 8;

// An endpoint is acquitted after this many calls on it with evidence below
// that, since the evidence was last held back.
constexpr struct {
  uint32_t here;
  double log;
} kAcquittals[] = {{64, 1}, {256, 4}};
constexpr uint32_t kMostHere = 1500;

// How long what is usual stays fixed while a trial runs.
constexpr int64_t kEpoch = 10 * kSecond;

}  // namespace

// ---- Evidence ----

void Evidence::Count(bool here, bool bad) {
  static_assert(std::size(kRatePairs) == std::tuple_size_v<decltype(logs_)>);
  const Steps& steps = TheSteps();
  for (size_t i = 0; i < logs_.size(); ++i) logs_[i] += steps.of[i][bad][here];
}

double Evidence::Log() const {
  const double most = *std::max_element(logs_.begin(), logs_.end());
  double sum = 0;
  for (double log : logs_) sum += std::exp(log - most);
  return most + std::log(sum / static_cast<double>(logs_.size()));
}

bool Evidence::CapAt(double log) {
  const double over = Log() - log;
  if (over < 0) return false;
  for (double& each : logs_) each -= over;
  return true;
}

// ---- One trial ----

TrialRules TrialRules::Of(double chance, int64_t slow_for) {
  return {std::log(2 / std::clamp(chance, 1e-12, 1.0)), slow_for};
}

// Where it pauses, calls on it end late, and may go well. Until they end, what
// goes well elsewhere would convict it. So that waits for calls here. (It only
// ever adds to the evidence: to leave some of it out is to convict less.)
void Trial::CountFailure(const TrialCall& call) {
  if (call.here || call.failed) {
    failures_.Count(call.here, call.failed);
  } else {
    ++waiting_;
  }
  while (waiting_ > 0 && calls_ - here_ - waiting_ < here_ + kMostAhead) {
    --waiting_;
    failures_.Count(/*here=*/false, /*bad=*/false);
  }
}

void Trial::Count(const TrialCall& call, int64_t now) {
  ++calls_;
  if (call.here) ++here_;
  CountFailure(call);
  if (!call.timed || ignores_slowness_) return;
  if (now - moment_began_ >= kMoment) {
    moment_began_ = now;
    moment_most_ = slowness_.Log() + kMostOfACall;
  }
  slowness_.Count(call.here, call.slow);
  if (slowness_.CapAt(moment_most_)) held_ = here_;
}

void Trial::IgnoreSlowness() {
  ignores_slowness_ = true;
  slowness_ = Evidence();
}

Ruling Trial::Judge(const TrialRules& rules, int64_t now) const {
  const double failures = failures_.Log();
  if (failures >= rules.bound) return Ruling::kFails;
  const double slowness = slowness_.Log();
  if (slowness >= rules.bound && now - slow_since_ >= rules.slow_for) {
    return Ruling::kSlow;
  }
  const uint32_t here = here_ - held_;
  if (here >= kMostHere) return Ruling::kAcquitted;
  const double most = std::max(failures, slowness);
  for (const auto& acquittal : kAcquittals) {
    if (here >= acquittal.here && most < acquittal.log) {
      return Ruling::kAcquitted;
    }
  }
  return Ruling::kNone;
}

// What is beyond the bound now may be over when it may count. Then it is to
// show again.
void Trial::Resume(const TrialRules& rules) {
  const bool failures = failures_.CapAt(rules.bound);
  const bool slowness = slowness_.CapAt(rules.bound);
  if (failures || slowness) held_ = here_;
}

// ---- Those that run ----

uint32_t Trials::Begin(const Trial& trial,
                       const cluster::LiveEndpoint* endpoint, uint32_t began,
                       int64_t now) {
  if (set_ == nullptr) set_ = std::make_unique<Set>();
  last_ = last_ == cluster::TrialTicket::kMostTrials ? 1 : last_ + 1;
  if (set_->running.empty() || now - epoch_since_ >= kEpoch) {
    ++epoch_;
    if (epoch_ == 0) ++epoch_;
    epoch_since_ = now;
  }
  End(last_);  // An old trial may still have that number.
  const uint32_t priority = endpoint->priority();
  set_->running.emplace(
      last_, Running{trial, endpoint, priority, began, epoch_, look_});
  ++set_->by_priority[priority];
  return last_;
}

void Trials::End(uint32_t number) {
  if (set_ == nullptr) return;
  const auto found = set_->running.find(number);
  if (found != set_->running.end()) set_->Erase(found);
}

void Trials::Move(uint32_t number, const cluster::LiveEndpoint* to,
                  uint32_t before, uint32_t now) {
  Running* const running = Find(number);
  if (running == nullptr) return;
  running->endpoint = to;
  running->began += now - before;
  running->look = look_ + 1;
}

Trials::Map::iterator Trials::Set::Erase(Map::iterator trial) {
  const auto count = by_priority.find(trial->second.priority);
  if (--count->second == 0) by_priority.erase(count);
  return running.erase(trial);
}

uint32_t Trials::CountOf(uint32_t priority) const {
  if (set_ == nullptr) return 0;
  const auto found = set_->by_priority.find(priority);
  return found == set_->by_priority.end() ? 0 : found->second;
}

Trials::Running* Trials::Find(uint32_t number) {
  if (set_ == nullptr) return nullptr;
  const auto found = set_->running.find(number);
  return found == set_->running.end() ? nullptr : &found->second;
}

void Trials::SetDue(uint32_t number, Running* running) {
  if (std::exchange(running->due, true)) return;
  due_.push_back(number);
}

std::vector<uint32_t> Trials::TakeDue() {
  std::vector<uint32_t> due;
  due.swap(due_);
  for (uint32_t number : due) {
    if (Running* const running = Find(number)) running->due = false;
  }
  return due;
}

void Trials::Saw(uint32_t number) {
  if (Running* const running = Find(number)) running->look = look_;
}

void Trials::EndLook() {
  if (set_ == nullptr) return;
  for (auto it = set_->running.begin(); it != set_->running.end();) {
    // One that began during this look may not have been passed.
    const bool seen = static_cast<int32_t>(it->second.look - look_) >= 0;
    it = seen ? std::next(it) : set_->Erase(it);
  }
}

}  // namespace mesh::resilience
