// Rows of connections that die, hang or are refused.

#include <signal.h>

#include <algorithm>
#include <chrono>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "benchmarks/outages/clients.h"
#include "benchmarks/outages/first_call.h"
#include "benchmarks/outages/load.h"
#include "benchmarks/outages/rows.h"
#include "benchmarks/outages/world.h"
#include "grpcpp/client_context.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "tests/process/process.h"

namespace mesh::benchmarks {
namespace {

constexpr absl::Duration kWarmUp = absl::Seconds(3);
constexpr int kRepetitions = 5;

using Peers = std::vector<std::unique_ptr<Peer>>;

std::vector<std::string> AddressesOf(const Peers& peers) {
  std::vector<std::string> addresses;
  for (const auto& peer : peers) addresses.push_back(peer->address());
  return addresses;
}

int64_t AcceptedIn(const Peers& peers, absl::Time from, absl::Time to) {
  int64_t accepted = 0;
  for (const auto& peer : peers) {
    accepted += peer->accepted().AcceptedIn(from, to);
  }
  return accepted;
}

// ---------------------------------------------------------------------------
// dead_connection

// How long is waited for the load to come back, and what is said if it does
// not.
constexpr absl::Duration kWatched = absl::Seconds(12);

struct Dead {
  absl::Duration recovered;
  int64_t dials = 0;
};

Dead DeadOnce(bool bare, int relays, const std::string& what) {
  const Server server("s");
  Peers peers;
  for (int i = 0; i < relays; ++i) {
    peers.push_back(Peer::Relay(server.address()));
  }
  const EndpointList list(Places(AddressesOf(peers)));
  std::unique_ptr<Client> client;
  if (bare) {
    client = std::make_unique<BareClient>(AddressesOf(peers));
  } else {
    v1::Config config = ServiceIn(list);
    if (relays > 1) {
      TheService(&config).mutable_connections()->set_ahead(2);
    }
    client = std::make_unique<MeshClient>(config);
  }
  OpenLoop load(
      100, [&client] { return client->stub(); }, absl::Milliseconds(500));
  absl::SleepFor(load.start() + kWarmUp - Now());
  const absl::Time fault = Now();
  for (const auto& peer : peers) peer->Silence();
  absl::SleepFor(fault + kWatched - Now());
  const std::vector<Outcome> outcomes = load.Stop();
  Dead dead;
  dead.recovered = RecoveredAfter(outcomes, fault, 100).value_or(kWatched);
  dead.dials = AcceptedIn(peers, fault, fault + absl::Seconds(10));
  Progress(absl::StrCat("  ", what, ": ", FailuresOf(outcomes)));
  return dead;
}

void DeadConnection(int relays, int most_dials, Figures* figures) {
  const std::string key = absl::StrCat("dead_connection_", relays);
  const auto all = [&](bool bare) {
    Dead worst;
    for (int i = 0; i < kRepetitions; ++i) {
      const Dead one = DeadOnce(bare, relays,
                                absl::StrCat(bare ? "bare." : "", key, " ",
                                             i + 1, " of ", kRepetitions));
      worst.recovered = std::max(worst.recovered, one.recovered);
      worst.dials = std::max(worst.dials, one.dials);
    }
    return worst;
  };
  // The arms run beside each other: 100 calls per second are little.
  auto bare = std::async(std::launch::async, all, true);
  const Dead mesh = all(false);
  const Dead other = bare.get();
  figures->Judge(key + ".recovered_ms",
                 absl::ToDoubleMilliseconds(mesh.recovered), AtMost(1500));
  figures->Judge(key + ".dials", static_cast<double>(mesh.dials),
                 AtMost(most_dials));
  figures->Tell("bare." + key + ".recovered_ms",
                absl::ToDoubleMilliseconds(other.recovered));
  figures->Tell("bare." + key + ".dials", static_cast<double>(other.dials));
}

}  // namespace

void DeadConnection1(Figures* figures) { DeadConnection(1, 10, figures); }

void DeadConnection8(Figures* figures) { DeadConnection(8, 20, figures); }

// ---------------------------------------------------------------------------
// stopped

void Stopped(Figures* figures) {
  int64_t most_dials = 0, most_open = 0;
  for (int i = 0; i < kRepetitions; ++i) {
    Server server("s");
    const auto relay = Peer::Relay(server.address());
    const EndpointList list(Places({relay->address()}));
    const MeshClient client(ServiceIn(list));
    OpenLoop load(100, [&client] { return client.stub(); });
    absl::SleepFor(load.start() + kWarmUp - Now());
    const absl::Time fault = Now();
    server.Signal(SIGSTOP);
    absl::SleepFor(fault + absl::Seconds(20) - Now());
    const absl::Time continued = Now();
    server.Signal(SIGCONT);
    absl::SleepFor(continued + absl::Seconds(5) - Now());
    const Accepted accepted = relay->accepted();
    const int64_t dials = accepted.AcceptedIn(fault, continued);
    const int64_t open = accepted.OpenAt(continued + absl::Seconds(5));
    const Counts after = CountDue(load.Stop(), continued + absl::Seconds(1),
                                  continued + absl::Seconds(5));
    Progress(absl::StrCat("  stopped ", i + 1, " of ", kRepetitions, ": ",
                          dials, " dials, ", open, " open, ", after.failed,
                          " calls failed from 1 s after SIGCONT on"));
    most_dials = std::max(most_dials, dials);
    most_open = std::max(most_open, open);
  }
  figures->Judge("stopped.dials", static_cast<double>(most_dials), AtMost(8));
  figures->Judge("stopped.connections", static_cast<double>(most_open),
                 AtMost(2));
}

// ---------------------------------------------------------------------------
// restart

namespace {

grpc::Status CallNow(test::TestService::Stub* stub, bool wait_for_ready) {
  grpc::ClientContext context;
  context.set_wait_for_ready(wait_for_ready);
  context.set_deadline(std::chrono::system_clock::now() +
                       absl::ToChronoMicroseconds(
                           wait_for_ready ? absl::Seconds(20) : kDeadline));
  test::Reply reply;
  return stub->Unary(&context, test::Request(), &reply);
}

int CountRestarts(bool bare) {
  constexpr int kRestarts = 20;
  Server server("s");
  const EndpointList list(Places({server.address()}));
  std::unique_ptr<MeshClient> mesh;
  StubPtr stub;
  if (bare) {
    stub = test::TestService::NewStub(grpc::CreateChannel(
        server.address(), grpc::InsecureChannelCredentials()));
  } else {
    v1::Config config = ServiceIn(list);
    TheService(&config).clear_policy();
    mesh = std::make_unique<MeshClient>(config);
    stub = mesh->stub();
  }
  int failed = 0;
  for (int i = 0; i < kRestarts; ++i) {
    // Each restart finds a channel that is connected.
    if (!CallNow(stub.get(), /*wait_for_ready=*/true).ok()) {
      Die("restart: a call that waits is not answered in 20 s");
    }
    server.Kill();
    absl::SleepFor(absl::Milliseconds(200));
    server.Start();
    absl::SleepFor(absl::Milliseconds(300));
    const grpc::Status status = CallNow(stub.get(), /*wait_for_ready=*/false);
    if (!status.ok()) {
      Progress(absl::StrCat("  restart ", i, ": ", status.error_message()));
      ++failed;
    }
  }
  return failed;
}

}  // namespace

void Restart(Figures* figures) {
  Progress("restart");
  auto other = std::async(std::launch::async, CountRestarts, true);
  const int failed = CountRestarts(false);
  const int bare = other.get();
  figures->Judge("restart.failed", failed, AtMost(bare));
  figures->Tell("bare.restart.failed", bare);
}

// ---------------------------------------------------------------------------
// refused

void Refused(Figures* figures) {
  Progress("refused");
  const auto refuser = Peer::Refuser();
  const EndpointList list(Places({refuser->address()}));
  const MeshClient client(ServiceIn(list));
  OpenLoop load(100, [&client] { return client.stub(); });
  absl::SleepFor(load.start() + absl::Seconds(20) - Now());
  (void)load.Stop();
  figures->Judge("refused.dials_per_second",
                 static_cast<double>(
                     MostWithin(refuser->accepted().accepts, absl::Seconds(1))),
                 AtMost(4));
}

// ---------------------------------------------------------------------------
// hole

namespace {

constexpr int kHoleClients = 20;

// Live servers, and ports that drop SYNs.
class HoleWorld {
 public:
  HoleWorld(int live, int dead, const std::string& connections)
      : servers_(StartServers("s", live)),
        hole_(dead),
        list_(All(servers_, hole_)),
        config_(directory_.Write(
            "mesh.yaml",
            absl::StrCat("services:\n  test:\n    endpoints_file: {path: \"",
                         list_.path(), "\"}\n    policy: {idempotent: true}\n",
                         connections))) {}

  // First calls of fresh clients that took longer than a second, or failed.
  int Slow(int at_once, const std::string& what) {
    int slow = 0;
    absl::Duration longest;
    for (const FirstCall& call : FirstCalls("mesh", config_, absl::Seconds(20),
                                            kHoleClients, at_once)) {
      slow += !call.ok() || call.took > absl::Seconds(1) ? 1 : 0;
      longest = std::max(longest, call.took);
    }
    Progress(absl::StrCat("  ", what, ": the longest first call took ",
                          absl::FormatDuration(longest)));
    return slow;
  }

  // A client that makes one call and then none: dials that hang, per second of
  // its second minute.
  double DialsPerSecond() {
    FirstCaller client("mesh", config_, absl::Seconds(20));
    (void)client.Result();
    const absl::Time from = Now() + absl::Minutes(1);
    absl::SleepFor(from - Now());
    std::set<int> before = ConnectionsTo(hole_.addresses(), kSynSent);
    int64_t dials = 0;
    // A dial is seen by its local port. One takes at least 250 ms here.
    while (Now() < from + absl::Minutes(1)) {
      absl::SleepFor(absl::Milliseconds(50));
      std::set<int> now = ConnectionsTo(hole_.addresses(), kSynSent);
      for (const int port : now) dials += before.count(port) == 0 ? 1 : 0;
      before = std::move(now);
    }
    return static_cast<double>(dials) / 60;
  }

 private:
  static std::vector<Place> All(const Servers& servers, const Hole& hole) {
    std::vector<Place> places = Places(mesh::benchmarks::AddressesOf(servers));
    Append(Places(hole.addresses()), &places);
    return places;
  }

  const test::TempDirectory directory_;
  const Servers servers_;
  const Hole hole_;
  const EndpointList list_;
  const std::string config_;
};

}  // namespace

void HoleRow(Figures* figures) {
  HoleWorld small(2, 1, "    connections: {ahead: 1}\n");
  HoleWorld large(3, 300, "");
  Progress("hole");
  const int slow_small = small.Slow(4, "hole, 2 live and 1 dead");
  const int slow_large = large.Slow(4, "hole, 3 live and 300 dead");
  figures->Tell("hole.slow_1", slow_small);
  figures->Tell("hole.slow_300", slow_large);
  figures->Judge("hole.slow", slow_small + slow_large, AtMost(0));
  Progress("hole: two minutes with nobody calling");
  auto other = std::async(std::launch::async,
                          [&small] { return small.DialsPerSecond(); });
  const double dials = large.DialsPerSecond();
  figures->Judge("hole.dials_per_second", std::max(dials, other.get()),
                 AtMost(20));
}

}  // namespace mesh::benchmarks
