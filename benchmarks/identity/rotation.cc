#include "benchmarks/identity/rotation.h"

#include <algorithm>
#include <array>
#include <functional>
#include <numeric>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "benchmarks/identity/counting.h"
#include "benchmarks/outages/world.h"

namespace mesh::benchmarks {
namespace {

constexpr absl::Duration kWarmUp = absl::Seconds(3);
constexpr absl::Duration kStepEvery = absl::Milliseconds(500);
// How long what is bad stands.
constexpr absl::Duration kBadFor = absl::Milliseconds(200);
constexpr absl::Duration kTornFor = absl::Milliseconds(100);
constexpr absl::Duration kCutFor = absl::Milliseconds(50);
// A file that is written in place and still for so long counts as whole.
constexpr absl::Duration kStill = absl::Milliseconds(100);
constexpr absl::Duration kCheckFor = absl::Milliseconds(10);
// What is not seen by then never is.
constexpr absl::Duration kPatience = absl::Seconds(5);
// gRPC has no gauge: it has looked at its files by then.
constexpr absl::Duration kStockLook = absl::Milliseconds(2200);
constexpr absl::Duration kPollGauge = absl::Milliseconds(10);
constexpr int kMemoryEvery = 10;  // Steps.
// The first fifth of the steps warms up.
constexpr int kWarmUpShare = 5;
// What became of the last withdrawal is to be seen.
constexpr absl::Duration kAftermath = absl::Seconds(7);

using Units = std::vector<std::vector<StepKind>>;

// What one deck has. What is about single files is not for an agent.
Units DeckOf(Arm arm) {
  Units deck = {
      {StepKind::kLeaf},
      {StepKind::kAdd, StepKind::kAddedLeaf, StepKind::kWithdraw},
      {StepKind::kMismatched},
      {StepKind::kTruncated},
      {StepKind::kEmpty},
      {StepKind::kExpired},
      {StepKind::kNotYetValid},
  };
  if (arm == Arm::kAgent) return deck;
  for (const StepKind kind : {StepKind::kTorn, StepKind::kBundleCut,
                              StepKind::kSwap, StepKind::kReplace}) {
    deck.push_back({kind});
  }
  return deck;
}

// What one step does to a member, in one or two parts.
struct Plan {
  std::function<void(int member)> first;
  // What stands between the parts is not to be published.
  absl::Duration pause;
  std::function<void(int member)> second;  // Null: there is none.
  // What stood for longer may be published: this process was late.
  absl::Duration most = absl::InfiniteDuration();
  // The members have something new after `first`, or else after `second`.
  bool publishes_first = false;
  bool publishes_second = false;
  // What they have is a new leaf: `next`.
  bool has_leaf = false;
  // The parts of one member come before those of the next.
  bool by_member = false;
};

class Rotation {
 public:
  Rotation(Arm arm, absl::BitGenRef random)
      : arm_(arm), random_(random), fleet_(arm, &pki_) {}

  RotationResult Play(const std::vector<StepKind>& steps, int kills);

 private:
  using Members = std::array<Secret, Fleet::kMembers>;
  using Gauges = std::array<uint64_t, Fleet::kMembers>;

  // `next_` for all members, and what `kind` does with them.
  Plan Prepare(StepKind kind);
  Plan FilesPlan(StepKind kind);
  Plan AgentPlan(StepKind kind);
  void IssueAll(Pki::Dates dates = Pki::Dates::kGood);
  // Gives a member what `next_` has for it, as a step that is simple does.
  void Give(int member);
  void GiveLeaf(int member);

  void PlayStep(StepKind kind);
  // Does both parts to these members.
  void PlayParts(const Plan& plan, const Gauges& before,
                 std::vector<int>* members);
  std::vector<int> Shuffled();
  Gauges ReadGauges();
  // Counts a member that has taken what is bad.
  // Whether what stands there now was published.
  bool IsPublished(int member, uint64_t before);
  // Waits until all gauges have moved.
  void AwaitGauges(const Gauges& before);
  // Begins to look for the new leaf of a member.
  void BeginSampling(int member);
  void EndSampling();
  void TakeMemory(int step);

  const Arm arm_;
  absl::BitGenRef random_;
  Pki pki_;
  Fleet fleet_;

  Members next_;
  std::array<absl::Duration, Fleet::kMembers> latency_;
  std::array<std::thread, Fleet::kMembers> samplers_;
  absl::Time good_since_ = absl::InfinitePast();
  std::array<std::vector<std::pair<double, double>>, Fleet::kMembers> rss_;
  std::array<std::vector<std::pair<double, double>>, Fleet::kMembers> fds_;
  RotationResult result_;
};

void Rotation::IssueAll(Pki::Dates dates) {
  for (int i = 0; i < Fleet::kMembers; ++i) {
    next_[i] = pki_.Issue(Fleet::NameOf(i), dates);
  }
}

void Rotation::GiveLeaf(int member) {
  fleet_.SetSecret(member, next_[member]);
  if (arm_ == Arm::kAgent) {
    fleet_.Push(member, fleet_.AnswerWith(member, next_[member]));
  } else {
    fleet_.files(member).RenamePair(next_[member]);
  }
}

// Only the bundle is another one.
void Rotation::Give(int member) {
  Secret secret = fleet_.secret(member);
  secret.bundle = pki_.Bundle();
  fleet_.SetSecret(member, secret);
  if (arm_ == Arm::kAgent) {
    fleet_.Push(member, fleet_.AnswerWith(member, secret));
  } else {
    fleet_.files(member).Rename(SecretFiles::kBundle, secret.bundle);
  }
}

Plan Rotation::Prepare(StepKind kind) {
  Plan plan;
  plan.publishes_first = true;
  switch (kind) {
    case StepKind::kAdd:
      pki_.Add();
      plan.first = [this](int member) { Give(member); };
      return plan;
    case StepKind::kWithdraw:
      pki_.Withdraw();
      plan.first = [this](int member) { Give(member); };
      return plan;
    case StepKind::kAddedLeaf:
      pki_.SignNext();
      fleet_.RenewProber();
      IssueAll();
      plan.has_leaf = true;
      plan.first = [this](int member) { GiveLeaf(member); };
      return plan;
    case StepKind::kLeaf:
      IssueAll();
      plan.has_leaf = true;
      plan.first = [this](int member) { GiveLeaf(member); };
      return plan;
    default:
      break;
  }
  IssueAll(kind == StepKind::kExpired       ? Pki::Dates::kExpired
           : kind == StepKind::kNotYetValid ? Pki::Dates::kNotYetValid
                                            : Pki::Dates::kGood);
  return arm_ == Arm::kAgent ? AgentPlan(kind) : FilesPlan(kind);
}

Plan Rotation::FilesPlan(StepKind kind) {
  Plan plan;
  plan.pause = kBadFor;
  const auto files = [this](int member) -> SecretFiles& {
    return fleet_.files(member);
  };
  switch (kind) {
    case StepKind::kTorn:
      plan.pause = kTornFor;
      plan.publishes_second = plan.has_leaf = true;
      plan.first = [=](int member) {
        files(member).Rename(SecretFiles::kKey, next_[member].key);
      };
      plan.second = [=](int member) {
        fleet_.SetSecret(member, next_[member]);
        files(member).Rename(SecretFiles::kCert, next_[member].chain);
      };
      return plan;
    case StepKind::kBundleCut:
      // In a longer time what stands there would count as whole.
      plan.by_member = true;
      plan.pause = kCutFor;
      plan.most = kStill;
      plan.publishes_second = plan.has_leaf = true;
      plan.first = [=](int member) {
        // After the first certificate: the authority that signs is gone.
        const std::string& bundle = next_[member].bundle;
        const size_t cut = bundle.find("-----BEGIN", 1);
        files(member).Overwrite(SecretFiles::kBundle, bundle.substr(0, cut));
        files(member).RenamePair(next_[member]);
      };
      plan.second = [=](int member) {
        const std::string& bundle = next_[member].bundle;
        const size_t cut = bundle.find("-----BEGIN", 1);
        fleet_.SetSecret(member, next_[member]);
        files(member).Append(SecretFiles::kBundle, bundle.substr(cut));
      };
      return plan;
    case StepKind::kSwap:
    case StepKind::kReplace:
      plan = Plan();
      plan.publishes_first = plan.has_leaf = true;
      plan.first = [=](int member) {
        fleet_.SetSecret(member, next_[member]);
        if (kind == StepKind::kSwap) {
          files(member).SwapLink(next_[member]);
        } else {
          files(member).ReplaceDirectory(next_[member]);
        }
      };
      return plan;
    default:
      break;
  }
  plan.first = [=](int member) {
    const Secret& good = fleet_.secret(member);
    if (kind == StepKind::kMismatched) {
      files(member).Rename(SecretFiles::kCert, next_[member].chain);
    } else if (kind == StepKind::kTruncated) {
      files(member).Overwrite(SecretFiles::kCert,
                              good.chain.substr(0, good.chain.size() / 2));
    } else if (kind == StepKind::kEmpty) {
      files(member).Overwrite(SecretFiles::kCert, "");
    } else {
      files(member).RenamePair(next_[member]);
    }
  };
  plan.second = [=](int member) {
    files(member).RenamePair(fleet_.secret(member));
  };
  return plan;
}

Plan Rotation::AgentPlan(StepKind kind) {
  Plan plan;
  plan.pause = kBadFor;
  plan.first = [=](int member) {
    const Secret& good = fleet_.secret(member);
    if (kind == StepKind::kMismatched) {
      Secret mixed = good;
      mixed.chain = next_[member].chain;
      fleet_.Push(member, fleet_.AnswerWith(member, mixed));
    } else if (kind == StepKind::kTruncated) {
      const std::string whole = fleet_.AnswerWith(member, next_[member]);
      fleet_.Push(member, whole.substr(0, whole.size() / 2));
    } else if (kind == StepKind::kEmpty) {
      fleet_.Push(member, "");
    } else {
      fleet_.Push(member, fleet_.AnswerWith(member, next_[member]));
    }
  };
  plan.second = [=](int member) {
    fleet_.Push(member, fleet_.AnswerWith(member, fleet_.secret(member)));
  };
  return plan;
}

// ---------------------------------------------------------------------------
// Playing

std::vector<int> Rotation::Shuffled() {
  std::vector<int> order(Fleet::kMembers);
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), random_);
  return order;
}

Rotation::Gauges Rotation::ReadGauges() {
  Gauges gauges = {};
  if (arm_ == Arm::kStock) return gauges;
  for (int i = 0; i < Fleet::kMembers; ++i) gauges[i] = fleet_.Generation(i);
  return gauges;
}

bool Rotation::IsPublished(int member, uint64_t before) {
  bool published = arm_ != Arm::kStock && fleet_.Generation(member) != before;
  // What is not whole may be shown without a gauge that says so.
  if (member < Fleet::kServers) {
    published =
        published || fleet_.SerialOfServer(member) == next_[member].serial;
  }
  return published;
}

void Rotation::AwaitGauges(const Gauges& before) {
  if (arm_ == Arm::kStock) {
    absl::SleepFor(kStockLook);
    return;
  }
  const absl::Time end = Now() + kPatience;
  for (int i = 0; i < Fleet::kMembers; ++i) {
    while (fleet_.Generation(i) == before[i]) {
      if (Now() >= end) {
        ++result_.stuck;
        break;
      }
      absl::SleepFor(kPollGauge);
    }
  }
}

void Rotation::BeginSampling(int member) {
  const absl::Time begun = Now();
  samplers_[member] =
      std::thread([this, member, begun, serial = next_[member].serial] {
        latency_[member] =
            fleet_.AwaitSerial(member, serial, kPatience) - begun;
      });
}

void Rotation::EndSampling() {
  for (int i = 0; i < Fleet::kMembers; ++i) {
    if (!samplers_[i].joinable()) continue;
    samplers_[i].join();
    const bool seen = latency_[i] < kPatience;
    if (!seen) ++result_.unseen;
    result_.new_identity_ms.push_back(
        absl::ToDoubleMilliseconds(seen ? latency_[i] : kPatience));
  }
}

void Rotation::PlayParts(const Plan& plan, const Gauges& before,
                         std::vector<int>* members) {
  const absl::Time begun = Now();
  for (const int member : *members) {
    plan.first(member);
    if (plan.publishes_first && plan.has_leaf) BeginSampling(member);
  }
  if (plan.second == nullptr) return;
  const absl::Time end = Now() + plan.pause;
  // The check takes some milliseconds.
  absl::SleepFor(plan.pause - kCheckFor);
  int bad = 0;
  for (const int member : *members) {
    bad += IsPublished(member, before[member]) ? 1 : 0;
  }
  absl::SleepFor(end - Now());
  std::shuffle(members->begin(), members->end(), random_);
  for (const int member : *members) {
    plan.second(member);
    if (plan.publishes_second && plan.has_leaf) BeginSampling(member);
  }
  if (Now() - begun < plan.most) result_.published_bad += bad;
}

void Rotation::PlayStep(StepKind kind) {
  const Plan plan = Prepare(kind);
  const Gauges before = ReadGauges();
  std::vector<std::vector<int>> groups;
  for (const int member : Shuffled()) {
    if (groups.empty() || plan.by_member) groups.emplace_back();
    groups.back().push_back(member);
  }
  for (std::vector<int>& group : groups) PlayParts(plan, before, &group);
  EndSampling();
  const bool publishes = plan.publishes_first || plan.publishes_second;
  if (publishes) {
    AwaitGauges(before);
    ++result_.rotations;
  }
  if (kind == StepKind::kAddedLeaf) good_since_ = Now();
  if (kind == StepKind::kWithdraw) fleet_.Withdrawn(good_since_);
}

void Rotation::TakeMemory(int step) {
  if (step % kMemoryEvery != 0) return;
  for (int i = 0; i < Fleet::kMembers; ++i) {
    const std::optional<Fleet::Memory> memory = fleet_.AskMemory(i);
    if (!memory.has_value()) continue;
    rss_[i].push_back({result_.rotations, memory->rss_kb});
    fds_[i].push_back({result_.rotations, memory->descriptors});
  }
}

RotationResult Rotation::Play(const std::vector<StepKind>& steps, int kills) {
  absl::SleepFor(kWarmUp);
  const int count = static_cast<int>(steps.size());
  absl::Time due = Now();
  for (int step = 0; step < count; ++step) {
    absl::SleepFor(due - Now());
    due = std::max(due + kStepEvery, Now());
    if (step % 20 == 0) {
      Progress(absl::StrCat("step ", step, " of ", count));
    }
    fleet_.Revive();
    if (result_.agent_kills * count < step * kills) {
      ++result_.agent_kills;
      result_.agent_back = std::max(result_.agent_back, fleet_.KillAgent());
    }
    PlayStep(steps[step]);
    if (step >= count / kWarmUpShare) TakeMemory(step);
  }
  absl::SleepFor(kAftermath);
  fleet_.Revive();
  for (int i = 0; i < Fleet::kMembers; ++i) {
    result_.rss_slope_kb = std::max(result_.rss_slope_kb, Slope(rss_[i]));
    result_.fd_slope = std::max(result_.fd_slope, FloorSlope(fds_[i]));
  }
  result_.steps = count;
  result_.totals = fleet_.totals();
  return std::move(result_);
}

}  // namespace

std::vector<StepKind> StepsOf(Arm arm, int count, absl::BitGenRef random) {
  std::vector<StepKind> steps;
  while (static_cast<int>(steps.size()) < count) {
    Units deck = DeckOf(arm);
    std::shuffle(deck.begin(), deck.end(), random);
    for (const std::vector<StepKind>& unit : deck) {
      steps.insert(steps.end(), unit.begin(), unit.end());
    }
  }
  steps.resize(static_cast<size_t>(count));
  return steps;
}

RotationResult PlayRotation(Arm arm, int steps, int kills,
                            absl::BitGenRef random) {
  const std::vector<StepKind> kinds = StepsOf(arm, steps, random);
  return Rotation(arm, random).Play(kinds, kills);
}

}  // namespace mesh::benchmarks
