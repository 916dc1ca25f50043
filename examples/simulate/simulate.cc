// Tries the services of a configuration against failures, before production
// does:
//
//   simulate mesh.yaml
//
// What the servers are like, and what breaks, is said here. Take it as a
// beginning: put in your own latencies, limits and load.

#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "mesh/front/services.h"
#include "mesh/simulation/simulation.h"

namespace {

using mesh::simulation::Cluster;
using mesh::simulation::Distribution;
using mesh::simulation::Fault;
using mesh::simulation::Load;
using mesh::simulation::Server;

struct Trial {
  std::string name;
  std::vector<Fault> faults;
};

constexpr absl::Duration kFrom = absl::Seconds(20);
constexpr absl::Duration kUntil = absl::Seconds(40);

// Three servers of 20 slots that take 10 ms, some calls longer. Together they
// could do 5,000 calls per second, and they get 1,500.
Cluster ThreeServers() {
  Cluster cluster;
  for (const char* address : {"a", "b", "c"}) {
    Server server;
    server.address = address;
    server.latency = Distribution::LogNormal(absl::Milliseconds(10), 0.5);
    server.slots = 20;
    cluster.servers.push_back(server);
  }
  cluster.loads = {Load::Open("/shop.Cart/Get", 1500)};
  cluster.loads[0].deadline = absl::Seconds(1);
  cluster.clients = 4;
  return cluster;
}

std::vector<Trial> Trials() {
  std::vector<Fault> outage;
  for (const char* address : {"a", "b", "c"}) {
    outage.push_back(Fault::Silence(address, kFrom, kUntil));
  }
  return {
      {"nothing breaks", {}},
      {"b is killed", {Fault::Down("b", kFrom, kUntil)}},
      {"b drains", {Fault::Draining("b", kFrom, kUntil)}},
      {"b stops answering", {Fault::Silence("b", kFrom, kUntil)}},
      {"b is 20 times slower", {Fault::Slow("b", kFrom, kUntil, 20)}},
      {"b fails half of its calls",
       {Fault::Errors("b", kFrom, kUntil, 0.5,
                      absl::StatusCode::kUnavailable)}},
      {"nobody answers", outage},
  };
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s mesh.yaml\n", argv[0]);
    return 1;
  }
  const auto services = mesh::front::ReadServices(argv[1]);
  if (!services.ok()) {
    std::fprintf(stderr, "%s\n", services.status().ToString().c_str());
    return 1;
  }
  for (const auto& [name, service] : *services) {
    std::printf("%-8s %-26s %9s %8s %8s %9s %8s %9s\n", name.c_str(), "", "ok",
                "p50 ms", "p99 ms", "attempts", "ejected", "suspected");
    for (const Trial& trial : Trials()) {
      Cluster cluster = ThreeServers();
      cluster.faults = trial.faults;
      const auto result = Simulate(*service, cluster);
      if (!result.ok()) {
        std::fprintf(stderr, "%s\n", result.status().ToString().c_str());
        return 1;
      }
      const auto calls = static_cast<double>(result->calls);
      std::printf("%-8s %-26s %8.3f%% %8.1f %8.1f %9.3f %8d %9d\n", "",
                  trial.name.c_str(),
                  100.0 * static_cast<double>(result->ok()) / calls,
                  absl::ToDoubleMilliseconds(result->latency.Quantile(0.5)),
                  absl::ToDoubleMilliseconds(result->latency.Quantile(0.99)),
                  static_cast<double>(result->attempts) / calls,
                  static_cast<int>(result->ejections().enforced),
                  static_cast<int>(result->suspicions().enforced));
    }
  }
  return 0;
}
