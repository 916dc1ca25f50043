// What choosing an endpoint costs a call: read the service's snapshot, pick,
// count the call in, and later out again, exactly as a channel does it.
//
// Beside it, in the same run, is a floor: a loop over an array of padded
// counters. The loop does only what power of two choices by calls in flight
// cannot do without. That is a number from the thread's generator, two loads, a
// compare, an atomic increment and later a decrement. Both keep kOutstanding
// calls in flight per thread, so that loads differ and the compare is a real
// one. Blocks of both alternate (ABBA). Each round gives a ratio; the result is
// the median of the rounds.

#include <time.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "benchmarks/report.h"
#include "mesh/balancing/load_balancer.h"
#include "mesh/base/random.h"
#include "mesh/base/snapshot_slot.h"

namespace mesh::benchmarks {
namespace {

using cluster::LiveEndpoint;

constexpr int kRounds = 41;
// Enough that almost all of a block finds in the caches what it can.
int PicksABlock(int endpoints) { return std::max(5'000, 4 * endpoints); }

constexpr int kOutstanding = 16;

double Nanoseconds(clockid_t clock) {
  timespec time;
  clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) * 1e9 +
         static_cast<double>(time.tv_nsec);
}

// Runs one function on several threads at once, again and again.
class Team {
 public:
  explicit Team(int threads) : members_(threads) {
    for (int i = 1; i < threads; ++i) {
      threads_.emplace_back([this, i] { Help(i); });
    }
  }
  ~Team() {
    block_ = nullptr;
    round_.fetch_add(1, std::memory_order_release);
    for (std::thread& thread : threads_) thread.join();
  }

  // Nanoseconds of CPU time that `block` takes per thread when all run it at
  // once. Other processes on the machine do not count. A run in which they kept
  // the threads from running at once is made again.
  double Time(const std::function<void()>& block) {
    constexpr int kTries = 50;
    double time = 0;
    for (int i = 0; i < kTries; ++i) {
      time = TimeOnce(block);
      if (RanTogether()) break;
    }
    return time;
  }

 private:
  struct alignas(64) Member {
    double cpu = 0;
    double begin = 0;
    double end = 0;
  };

  double TimeOnce(const std::function<void()>& block) {
    block_ = &block;
    ready_.store(0, std::memory_order_relaxed);
    done_.store(0, std::memory_order_relaxed);
    round_.fetch_add(1, std::memory_order_release);
    Run(0);
    while (done_.load(std::memory_order_acquire) < members_.size()) {
    }
    double sum = 0;
    for (const Member& member : members_) sum += member.cpu;
    return sum / static_cast<double>(members_.size());
  }

  // Whether all have run during nine tenths of the time that any has.
  bool RanTogether() const {
    double first = members_[0].begin, last_begin = first;
    double first_end = members_[0].end, last = first_end;
    for (const Member& member : members_) {
      first = std::min(first, member.begin);
      last_begin = std::max(last_begin, member.begin);
      first_end = std::min(first_end, member.end);
      last = std::max(last, member.end);
    }
    return first_end - last_begin > 0.9 * (last - first);
  }

  void Run(size_t i) {
    ready_.fetch_add(1, std::memory_order_acq_rel);
    while (ready_.load(std::memory_order_acquire) < members_.size()) {
    }
    Member member;
    member.begin = Nanoseconds(CLOCK_MONOTONIC);
    const double start = Nanoseconds(CLOCK_THREAD_CPUTIME_ID);
    (*block_)();
    member.cpu = Nanoseconds(CLOCK_THREAD_CPUTIME_ID) - start;
    member.end = Nanoseconds(CLOCK_MONOTONIC);
    members_[i] = member;
    done_.fetch_add(1, std::memory_order_acq_rel);
  }

  void Help(size_t i) {
    for (int round = 1;; ++round) {
      while (round_.load(std::memory_order_acquire) < round) {
      }
      if (block_ == nullptr) return;
      Run(i);
    }
  }

  const std::function<void()>* block_ = nullptr;
  std::vector<Member> members_;
  std::atomic<int> round_{0};
  std::atomic<size_t> ready_{0};
  std::atomic<size_t> done_{0};
  std::vector<std::thread> threads_;
};

// The calls that one thread has in flight, the oldest of which ends when a new
// one begins.
template <typename T>
class Outstanding {
 public:
  explicit Outstanding(T* first) { all_.fill(first); }

  // Takes the newest, gives back the oldest.
  T* Exchange(T* newest) {
    next_ = (next_ + 1) % kOutstanding;
    return std::exchange(all_[next_], newest);
  }
  const std::array<T*, kOutstanding>& all() const { return all_; }

 private:
  std::array<T*, kOutstanding> all_;
  uint32_t next_ = 0;
};

// The floor.
struct alignas(64) PaddedCounter {
  std::atomic<int64_t> value{0};
};

void RunFloor(std::vector<PaddedCounter>& counters, int picks) {
  PaddedCounter* const all = counters.data();
  const uint64_t n = counters.size();
  PaddedCounter unused;
  Outstanding<PaddedCounter> outstanding(&unused);
  for (int i = 0; i < picks; ++i) {
    const uint64_t bits = base::ThreadRandom()();
    PaddedCounter* const a = all + ((bits >> 32) * n >> 32);
    PaddedCounter* const b = all + ((bits & 0xffffffff) * n >> 32);
    PaddedCounter* const less = b->value.load(std::memory_order_relaxed) <
                                        a->value.load(std::memory_order_relaxed)
                                    ? b
                                    : a;
    less->value.fetch_add(1, std::memory_order_relaxed);
    outstanding.Exchange(less)->value.fetch_sub(1, std::memory_order_relaxed);
  }
  for (PaddedCounter* counter : outstanding.all()) {
    counter->value.fetch_sub(1, std::memory_order_relaxed);
  }
}

// What a channel reads for each call.
struct Snapshot {
  balancing::PickerPtr picker;
};
using Slot = base::SnapshotSlot<Snapshot>;

void RunPicks(const Slot& slot, int picks) {
  LiveEndpoint unused({});
  for (int i = 0; i < kOutstanding; ++i) unused.Acquire();
  Outstanding<LiveEndpoint> outstanding(&unused);
  for (int i = 0; i < picks; ++i) {
    balancing::PickArgs args;
    args.random = &base::ThreadRandom();
    const balancing::PickResult picked = slot.Get()->picker->Pick(args);
    if (picked.kind != balancing::PickResult::Kind::kUse) std::abort();
    outstanding.Exchange(picked.endpoint)->Release();
  }
  for (LiveEndpoint* endpoint : outstanding.all()) endpoint->Release();
}

void RunReads(const Slot& slot, int picks) {
  for (int i = 0; i < picks; ++i) {
    if (slot.Get()->picker == nullptr) std::abort();
    std::atomic_signal_fence(std::memory_order_seq_cst);  // Read again.
  }
}

struct Policy {
  const char* name;
  options::BalancingPolicy policy;
  bool weighted;
};
constexpr Policy kPolicies[] = {
    {"p2c", options::BalancingPolicy::kLeastRequest, false},
    {"p2c_weighted", options::BalancingPolicy::kLeastRequest, true},
    {"round_robin", options::BalancingPolicy::kRoundRobin, false},
    {"round_robin_weighted", options::BalancingPolicy::kRoundRobin, true},
};

std::vector<balancing::Member> MakeMembers(int n, bool weighted) {
  std::vector<balancing::Member> members;
  for (int i = 0; i < n; ++i) {
    cluster::Endpoint endpoint;
    endpoint.address = absl::StrCat("10.", i / 250, ".0.", i % 250, ":8080");
    balancing::Member member;
    member.live = std::make_shared<LiveEndpoint>(std::move(endpoint));
    member.live->set_readiness(cluster::Readiness::kReady);
    if (weighted) member.weight = 1 + i % 5;
    members.push_back(std::move(member));
  }
  return members;
}

void Measure(const Policy& policy, int endpoints, int threads, Table* table,
             Report* report) {
  std::vector<PaddedCounter> counters(endpoints);
  const auto balancer = balancing::MakeLoadBalancer(policy.policy);
  auto snapshot = std::make_shared<Snapshot>();
  snapshot->picker = balancer->Update(MakeMembers(endpoints, policy.weighted),
                                      absl::UnavailableError("none"),
                                      /*shares=*/nullptr);
  const Slot slot(std::move(snapshot));

  const int picks_a_block = PicksABlock(endpoints);
  Team team(threads);
  const std::function<void()> floor = [&] {
    RunFloor(counters, picks_a_block);
  };
  const std::function<void()> picks = [&] { RunPicks(slot, picks_a_block); };
  const std::function<void()> reads = [&] { RunReads(slot, picks_a_block); };
  team.Time(floor);
  team.Time(picks);
  std::vector<double> ratios, floor_ns, pick_ns, read_ns;
  for (int round = 0; round < kRounds; ++round) {
    double floor_time = team.Time(floor);
    double pick_time = team.Time(picks);
    pick_time += team.Time(picks);
    floor_time += team.Time(floor);
    ratios.push_back(pick_time / floor_time);
    floor_ns.push_back(floor_time / (2 * picks_a_block));
    pick_ns.push_back(pick_time / (2 * picks_a_block));
    read_ns.push_back(team.Time(reads) / picks_a_block);
  }

  const Estimate ratio = MedianOf(ratios);
  table->Row({policy.name, absl::StrCat(endpoints), absl::StrCat(threads),
              Number(MedianOf(floor_ns).median, 1),
              Number(MedianOf(pick_ns).median, 1),
              Number(MedianOf(read_ns).median, 1), Number(ratio)});
  const std::string name =
      absl::StrCat(policy.name, ".", endpoints, ".t", threads);
  report->Metric(absl::StrCat(name, ".ratio"), ratio);
  report->Metric(absl::StrCat(name, ".floor_ns"), MedianOf(floor_ns).median);
  report->Metric(absl::StrCat(name, ".ns"), MedianOf(pick_ns).median);
}

int Main(int argc, char** argv) {
  Report report(&argc, argv);
  std::printf(
      "Choosing an endpoint: ns a pick with its in-flight count (read the "
      "snapshot, pick,\nacquire, later release), beside a floor loop. %d "
      "interleaved rounds; median (95%%).\n\n",
      kRounds);
  Table table({"policy", "endpoints", "threads", "floor ns", "pick ns",
               "of it read ns", "ratio"});
  for (const Policy& policy : kPolicies) {
    for (int endpoints : {10, 1'000, 10'000}) {
      for (int threads : {1, 2}) {
        Measure(policy, endpoints, threads, &table, &report);
      }
    }
  }
  std::fputs(table.Text().c_str(), stdout);
  return report.Write();
}

}  // namespace
}  // namespace mesh::benchmarks

int main(int argc, char** argv) { return mesh::benchmarks::Main(argc, argv); }
