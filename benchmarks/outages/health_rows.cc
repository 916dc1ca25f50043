// Rows of health: who is taken out of use, and who is not.

#include <signal.h>

#include <algorithm>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "benchmarks/outages/clients.h"
#include "benchmarks/outages/load.h"
#include "benchmarks/outages/rows.h"
#include "benchmarks/outages/world.h"

namespace mesh::benchmarks {
namespace {

constexpr int kInternal = 13;
constexpr int kResourceExhausted = 8;

ClosedCall Sleeps(int milliseconds, bool other_method = false) {
  ClosedCall call;
  call.directives.set_sleep_ms(milliseconds);
  call.other_method = other_method;
  return call;
}

ClosedCall Fails(int code) {
  ClosedCall call;
  call.directives.set_code(code);
  return call;
}

void Balance(bool round_robin, v1::Config* config) {
  TheService(config).mutable_load_balancing()->set_policy(
      round_robin ? v1::LoadBalancing::ROUND_ROBIN
                  : v1::LoadBalancing::LEAST_REQUEST);
}

const char* NameOf(bool round_robin) {
  return round_robin ? "round robin" : "least request";
}

// ---------------------------------------------------------------------------
// mixed

double MixedOnce(int count, bool round_robin, bool two_methods) {
  const Servers servers = StartServers("s", count);
  const EndpointList list(Places(AddressesOf(servers)));
  v1::Config config = ServiceIn(list);
  Balance(round_robin, &config);
  const auto log = std::make_shared<HealthLog>();
  const MeshClient client(config, log);
  Callers callers(client.stub());
  const absl::Time start = Now();
  if (round_robin) {
    callers.Add({Sleeps(20, two_methods), Sleeps(0)});
  } else {
    callers.Add({Sleeps(50, two_methods)});
    callers.Add({Sleeps(1)});
  }
  absl::SleepFor(start + absl::Seconds(30) - Now());
  const absl::Time end = Now();
  callers.Stop();
  const double share = OutShare(log->changes(), count, start, end);
  Progress(absl::StrCat(
      "  mixed, ", count, " servers, ", NameOf(round_robin),
      two_methods ? ", two methods: " : ", one method: ", share, " out, ",
      log->ejections(), " ejections, ", callers.calls(), " calls"));
  return share;
}

}  // namespace

void Mixed(Figures* figures) {
  double worst = 0;
  for (const int count : {2, 3, 10}) {
    double worst_of_count = 0;
    for (const bool two_methods : {false, true}) {
      // The policies beside each other.
      auto other =
          std::async(std::launch::async, MixedOnce, count, true, two_methods);
      const double share = MixedOnce(count, false, two_methods);
      worst_of_count = std::max({worst_of_count, share, other.get()});
    }
    figures->Tell(absl::StrCat("mixed.out_share_", count), worst_of_count);
    worst = std::max(worst, worst_of_count);
  }
  figures->Judge("mixed.out_share", worst, AtMost(0.001));
}

// ---------------------------------------------------------------------------
// own_failures

void OwnFailures(Figures* figures) {
  const Servers servers = StartServers("s", 3);
  const EndpointList list(Places(AddressesOf(servers)));
  v1::Config config = ServiceIn(list);
  (*TheService(&config)
        .mutable_channel_args())["grpc.max_receive_message_length"]
      .set_integer(1000);
  const auto log = std::make_shared<HealthLog>();
  const MeshClient client(config, log);
  Callers callers(client.stub());
  ClosedCall call;
  call.directives.set_reply_bytes(5000);
  callers.Add({call}, 400);
  callers.Wait();
  figures->Judge("own_failures.ejections", log->ejections(), AtMost(0));
}

// ---------------------------------------------------------------------------
// tenant

namespace {

struct TenantRun {
  int servers = 2;
  int code = kInternal;
  bool round_robin = false;
  bool alternates = false;  // One caller; else one caller a tenant.
};

int TenantOnce(const TenantRun& run) {
  const Servers servers = StartServers("s", run.servers);
  const EndpointList list(Places(AddressesOf(servers)));
  v1::Config config = ServiceIn(list);
  Balance(run.round_robin, &config);
  const auto log = std::make_shared<HealthLog>();
  const MeshClient client(config, log);
  Callers callers(client.stub());
  if (run.alternates) {
    callers.Add({Fails(run.code), Sleeps(50)});
  } else {
    callers.Add({Fails(run.code)});
    callers.Add({Sleeps(50)});
  }
  absl::SleepFor(absl::Seconds(20));
  callers.Stop();
  Progress(absl::StrCat(
      "  tenant, ", run.servers, " servers, code ", run.code, ", ",
      NameOf(run.round_robin), run.alternates ? ", one caller: " : ", two: ",
      log->ejections(), " ejections, ", callers.calls(), " calls"));
  return log->ejections();
}

}  // namespace

void Tenant(Figures* figures) {
  int most = 0;
  for (const int servers : {2, 3}) {
    for (const int code : {kResourceExhausted, kInternal}) {
      for (const bool round_robin : {false, true}) {
        // The caller that alternates makes 40 calls per second, beside the two.
        TenantRun run;
        run.servers = servers;
        run.code = code;
        run.round_robin = round_robin;
        run.alternates = true;
        auto other = std::async(std::launch::async, TenantOnce, run);
        run.alternates = false;
        most = std::max(most, TenantOnce(run));
        most = std::max(most, other.get());
      }
    }
  }
  figures->Judge("tenant.ejections", most, AtMost(0));
}

// ---------------------------------------------------------------------------
// partial_40.real

namespace {

double FoundAfter(bool round_robin) {
  const Servers servers =
      StartServers("s", 3, {absl::StrCat("--fault=", kInternal, ":0.4")});
  const EndpointList list(Places(AddressesOf(servers)));
  v1::Config config = ServiceIn(list);
  Balance(round_robin, &config);
  const auto log = std::make_shared<HealthLog>();
  const MeshClient client(config, log);
  OpenLoop load(300, [&client] { return client.stub(); });
  absl::SleepFor(load.start() + absl::Seconds(20) - Now());
  log->CountAttemptsAt(servers[0]->address());
  servers[0]->Signal(SIGUSR1);
  const absl::Time fault = Now();
  while (!log->found() && Now() < fault + absl::Seconds(20)) {
    absl::SleepFor(absl::Milliseconds(20));
  }
  const bool found = log->found();
  const auto attempts = static_cast<double>(log->attempts());
  (void)load.Stop();
  Progress(absl::StrCat("  partial_40.real, ", NameOf(round_robin), ": ",
                        found ? "found" : "not found in 20 s", " after ",
                        attempts, " attempts"));
  return attempts;
}

}  // namespace

void Partial40Real(Figures* figures) {
  constexpr int kRepetitions = 5;
  std::vector<double> least_request, round_robin;
  for (int i = 0; i < kRepetitions; ++i) {
    auto other = std::async(std::launch::async, FoundAfter, true);
    least_request.push_back(FoundAfter(false));
    round_robin.push_back(other.get());
  }
  figures->Judge(
      "partial_40.real",
      std::max(MedianOf(least_request).median, MedianOf(round_robin).median),
      AtMost(150));
}

}  // namespace mesh::benchmarks
