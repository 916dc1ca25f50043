// Rows of services with priorities.

#include <signal.h>

#include <algorithm>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "benchmarks/outages/clients.h"
#include "benchmarks/outages/first_call.h"
#include "benchmarks/outages/load.h"
#include "benchmarks/outages/rows.h"
#include "benchmarks/outages/world.h"
#include "tests/process/process.h"

namespace mesh::benchmarks {
namespace {

constexpr char kBackup = 'b';
constexpr absl::Duration kWarmUp = absl::Seconds(3);

// The list of primaries and backups, and a client by it or, bare, by all of
// them together.
class Arm {
 public:
  Arm(bool bare, const std::vector<std::string>& primaries,
      std::vector<std::string> backups)
      : backups_(std::move(backups)), list_(Listed(primaries)) {
    if (bare) {
      auto client = std::make_unique<BareClient>(All(primaries));
      bare_ = client.get();
      client_ = std::move(client);
    } else {
      client_ = std::make_unique<MeshClient>(ServiceIn(list_));
    }
  }

  StubPtr stub() const { return client_->stub(); }
  void SetPrimaries(const std::vector<std::string>& primaries) {
    if (bare_ != nullptr) {
      bare_->Set(All(primaries));
    } else {
      list_.Set(Listed(primaries));
    }
  }

 private:
  std::vector<Place> Listed(const std::vector<std::string>& primaries) const {
    std::vector<Place> places = Places(primaries, 0);
    Append(Places(backups_, 1), &places);
    return places;
  }
  std::vector<std::string> All(std::vector<std::string> addresses) const {
    addresses.insert(addresses.end(), backups_.begin(), backups_.end());
    return addresses;
  }

  const std::vector<std::string> backups_;
  EndpointList list_;
  std::unique_ptr<Client> client_;
  BareClient* bare_ = nullptr;
};

void Explain(const std::string& what, const std::vector<Outcome>& outcomes) {
  Progress("");
  const std::string failures = FailuresOf(outcomes);
  if (!failures.empty()) Progress("  " + what + ": " + failures);
}

std::string Named(bool bare, const std::string& key) {
  return bare ? "bare." + key : key;
}

void Say(bool bare, const std::string& key, double value, const Wanted& wanted,
         Figures* figures) {
  if (bare) {
    figures->Tell(Named(true, key), value);
  } else {
    figures->Judge(key, value, wanted);
  }
}

}  // namespace

void PriorityCold(Figures* figures) {
  constexpr int kClients = 20;
  const Servers primaries = StartServers("p", 1);
  const Servers backups = StartServers("b", 8);
  std::vector<Place> places = Places(AddressesOf(primaries), 0);
  Append(Places(AddressesOf(backups), 1), &places);
  const EndpointList list(places);
  const test::TempDirectory directory;
  const std::string config = directory.Write(
      "mesh.yaml",
      absl::StrCat("services:\n  test:\n    endpoints_file: {path: \"",
                   list.path(), "\"}\n    connections: {ahead: 1}\n"));
  std::vector<std::string> all;
  for (const Place& place : places) all.push_back(place.address);

  for (const bool bare : {false, true}) {
    const std::vector<FirstCall> calls = FirstCalls(
        bare ? "bare" : "mesh", bare ? absl::StrJoin(all, ",") : config,
        absl::Seconds(3), kClients, /*at_once=*/1);
    int hung = 0, strayed = 0;
    for (const FirstCall& call : calls) {
      hung += !call.ok() || call.took > absl::Seconds(1) ? 1 : 0;
      strayed += call.by[0] == kBackup ? 1 : 0;
    }
    Say(bare, "priority_cold.hung", hung, AtMost(0), figures);
    Say(bare, "priority_cold.strayed", strayed, AtMost(1), figures);
  }
}

namespace {

struct Moved {
  int64_t failed = 0;
  int64_t late = 0;
  int64_t strayed = 0;
};

Moved MoveOnce(bool bare, const std::string& what) {
  Servers primaries = StartServers("p", 2);
  Server::Options options;
  options.name = "b";
  options.addresses.assign(64, "127.0.0.1:0");
  const Server backups(std::move(options));
  Arm arm(bare, AddressesOf(primaries), backups.addresses());
  OpenLoop load(100, [&arm] { return arm.stub(); });
  const Servers next = StartServers("p", 2);
  absl::SleepFor(load.start() + kWarmUp - Now());
  arm.SetPrimaries(AddressesOf(next));
  for (const auto& primary : primaries) primary->Signal(SIGKILL);
  const absl::Time fault = Now();
  absl::SleepFor(absl::Seconds(15));
  const std::vector<Outcome> outcomes = load.Stop();
  Explain(what, outcomes);
  const auto at = [fault](int s) { return fault + absl::Seconds(s); };
  Moved moved;
  const Counts counts = CountDue(outcomes, at(1), at(15));
  moved.failed = counts.failed;
  moved.late = counts.late;
  moved.strayed = CountDue(outcomes, at(5), at(15), kBackup).by;
  return moved;
}

// The worst of three times.
Moved MoveWorst(bool bare) {
  Moved worst;
  for (int i = 0; i < 3; ++i) {
    const std::string what =
        absl::StrCat(Named(bare, "priority_moved"), " ", i + 1, " of 3");
    Progress(what);
    const Moved moved = MoveOnce(bare, what);
    worst.failed = std::max(worst.failed, moved.failed);
    worst.late = std::max(worst.late, moved.late);
    worst.strayed = std::max(worst.strayed, moved.strayed);
  }
  return worst;
}

}  // namespace

void PriorityMoved(Figures* figures) {
  for (const bool bare : {false, true}) {
    const Moved worst = MoveWorst(bare);
    figures->Tell(Named(bare, "priority_moved.late"),
                  static_cast<double>(worst.late));
    Say(bare, "priority_moved.failed", static_cast<double>(worst.failed),
        AtMost(0), figures);
    Say(bare, "priority_moved.strayed", static_cast<double>(worst.strayed),
        AtMost(0), figures);
  }
}

namespace {

double UnhealthySuccess(bool bare, int count) {
  // 14 is UNAVAILABLE.
  const Servers primaries = StartServers("p", count, {"--fault=14:1"});
  const Servers backups = StartServers("b", 3);
  Arm arm(bare, AddressesOf(primaries), AddressesOf(backups));
  OpenLoop load(300, [&arm] { return arm.stub(); });
  absl::SleepFor(load.start() + kWarmUp - Now());
  for (const auto& primary : primaries) primary->Signal(SIGUSR1);
  const absl::Time fault = Now();
  absl::SleepFor(absl::Seconds(60));
  const std::vector<Outcome> outcomes = load.Stop();
  Explain(absl::StrCat(Named(bare, "priority_unhealthy "), count), outcomes);
  return CountDue(outcomes, fault + absl::Seconds(2), fault + absl::Seconds(60))
      .success();
}

}  // namespace

void PriorityUnhealthy(Figures* figures) {
  for (const bool bare : {false, true}) {
    Progress(Named(bare, "priority_unhealthy"));
    // They run beside each other: 600 calls per second are little, and a minute
    // is long.
    auto six = std::async(std::launch::async, UnhealthySuccess, bare, 6);
    const double three = UnhealthySuccess(bare, 3);
    const double of_six = six.get();
    const std::string key = Named(bare, "priority_unhealthy.success");
    figures->Tell(key + "_3", three);
    figures->Tell(key + "_6", of_six);
    Say(bare, "priority_unhealthy.success", std::min(three, of_six),
        AtLeast(0.999), figures);
  }
}

void PrioritySpill(Figures* figures) {
  for (const bool bare : {false, true}) {
    const std::string what = Named(bare, "priority_spill");
    Progress(what);
    Servers primaries = StartServers("p", 10);
    const Servers backups = StartServers("b", 10);
    Arm arm(bare, AddressesOf(primaries), AddressesOf(backups));
    OpenLoop load(500, [&arm] { return arm.stub(); });
    absl::SleepFor(load.start() + kWarmUp - Now());
    for (int i = 0; i < 5; ++i) primaries[i]->Signal(SIGKILL);
    const absl::Time fault = Now();
    const auto at = [fault](int s) { return fault + absl::Seconds(s); };
    absl::SleepFor(at(20) - Now());
    for (int i = 0; i < 5; ++i) {
      primaries[i]->Kill();  // It is waited for.
      primaries[i]->Start();
    }
    absl::SleepFor(at(25) - Now());
    const std::vector<Outcome> outcomes = load.Stop();
    Explain(what, outcomes);
    Say(bare, "priority_spill.share",
        CountDue(outcomes, at(5), at(20), kBackup).by_share(),
        Between(0.27, 0.33), figures);
    const Counts counts = CountDue(outcomes, at(1), at(30));
    figures->Tell(Named(bare, "priority_spill.late"),
                  static_cast<double>(counts.late));
    Say(bare, "priority_spill.failed", static_cast<double>(counts.failed),
        AtMost(0), figures);
  }
}

}  // namespace mesh::benchmarks
