// How many calls the simulator plays per real second. It plays the whole life
// of a call (arrival, pick, network, server, answer, accounting), with
// invariants checked. It plays them through the machine, balancing and budget
// that run over gRPC.
//
//   simulation_bench [--json FILE]
//   simulation_bench --digest [--each] [SEEDS]
//
// The second form plays SEEDS (1000) random scenarios and prints one hash over
// all events and results. It moves when, and only when, some decision has
// changed. With --each it prints the hash of each seed, too.

#include <time.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "benchmarks/report.h"
#include "mesh/simulation/digest.h"
#include "mesh/simulation/simulation.h"

namespace mesh::benchmarks {
namespace {

constexpr int kRounds = 5;

double ProcessTime() {
  timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) +
         static_cast<double>(time.tv_nsec) * 1e-9;
}

struct Shape {
  std::string key;
  std::string name;
  int servers;
  int clients;
  int slots;        // 0: no limit.
  bool everything;  // All sorts of faults, from the beginning to the end.
};

simulation::Cluster Make(const Shape& shape) {
  using simulation::Fault;
  simulation::Cluster cluster;
  for (int i = 0; i < shape.servers; ++i) {
    simulation::Server server;
    server.address = absl::StrCat("10.0.", i / 250, ".", i % 250, ":80");
    server.slots = shape.slots;
    cluster.servers.push_back(server);
  }
  cluster.clients = shape.clients;
  cluster.loads = {simulation::Load::Open("/shop.Cart/Get", 10'000)};
  cluster.loads[0].deadline = absl::Seconds(1);
  if (shape.everything) {
    cluster.loads[0].cancel_share = 0.01;
    cluster.loads[0].cancel_after =
        simulation::Distribution::Exponential(absl::Milliseconds(5));
    const absl::Duration begin = absl::ZeroDuration();
    const absl::Duration end = absl::InfiniteDuration();
    const auto address = [&cluster](int i) {
      return cluster.servers[i].address;
    };
    cluster.faults = {
        Fault::Down(address(0), begin, end),
        Fault::Slow(address(1), begin, end, 20),
        Fault::Errors(address(2), begin, end, 0.3,
                      absl::StatusCode::kUnavailable),
        Fault::Silence(address(3), begin, end),
    };
    cluster.faults[0].period = absl::Seconds(2);
    cluster.faults[3].period = absl::Seconds(4);
  }
  return cluster;
}

// `--digest [--each] [SEEDS]`, with which `arguments` begin.
int PrintDigest(absl::Span<char* const> arguments) {
  bool each = false;
  uint32_t seeds = 1000;
  for (const absl::string_view argument : arguments.subspan(1)) {
    if (argument == "--each") {
      each = true;
    } else if (!absl::SimpleAtoi(argument, &seeds) || seeds == 0) {
      std::fprintf(stderr, "SEEDS must be a number above 0, but is \"%s\".\n",
                   std::string(argument).c_str());
      return 1;
    }
  }
  uint64_t all = 0xcbf29ce484222325u;
  for (uint32_t seed = 1; seed <= seeds; ++seed) {
    const absl::StatusOr<uint64_t> digest = simulation::DigestOfSeed(seed);
    if (!digest.ok()) {
      std::fprintf(stderr, "%s\n", digest.status().ToString().c_str());
      return 1;
    }
    all = (all ^ *digest) * 0x100000001b3u;
    all ^= all >> 32;
    if (each) {
      std::printf("%u %s\n", seed,
                  absl::StrCat(absl::Hex(*digest, absl::kZeroPad16)).c_str());
    }
  }
  std::printf("digest of %u seeds: %s\n", seeds,
              absl::StrCat(absl::Hex(all, absl::kZeroPad16)).c_str());
  return 0;
}

int Main(int argc, char** argv) {
  if (argc > 1 && absl::string_view(argv[1]) == "--digest") {
    return PrintDigest(absl::MakeConstSpan(argv + 1, argc - 1));
  }
  Report report(&argc, argv);
  if (argc > 1) {
    std::fprintf(stderr, "the argument \"%s\" is unknown.\n", argv[1]);
    return 1;
  }
  options::ServiceOptions service;
  service.name = "cart";
  service.policy.idempotent = true;
  service.policy.retry.attempt_timeout = absl::Milliseconds(300);

  Table table({"simulated", "calls", "events a call", "calls a CPU second",
               "simulated seconds a CPU second"});
  double least = 0;
  for (const Shape& shape : std::vector<Shape>{
           {"small", "10 servers", 10, 1, 0, false},
           {"queues", "10 servers, queues", 10, 1, 16, false},
           {"faults", "10 servers, all faults", 10, 1, 16, true},
           {"large", "1000 servers, 10 clients", 1000, 10, 0, false}}) {
    const simulation::Cluster cluster = Make(shape);
    simulation::Options options;
    options.duration = absl::Seconds(50);
    std::vector<double> rates;
    uint64_t calls = 0;
    double events = 0;
    for (int round = 0; round < kRounds; ++round) {
      std::fprintf(stderr, "\r%s: %d of %d ", shape.name.c_str(), round + 1,
                   kRounds);
      const double start = ProcessTime();
      const auto result = simulation::Simulate(service, cluster, options);
      const double time = ProcessTime() - start;
      if (!result.ok() || !result->violations.empty()) {
        std::fprintf(stderr, "\n%s\n",
                     result.ok() ? result->violations[0].c_str()
                                 : result.status().ToString().c_str());
        return 1;
      }
      calls = result->calls;
      events = static_cast<double>(result->events) / result->calls;
      rates.push_back(static_cast<double>(calls) / time);
    }
    std::fprintf(stderr, "\r%60s\r", "");
    const Estimate rate = MedianOf(rates);
    least = least == 0 ? rate.median : std::min(least, rate.median);
    table.Row({shape.name, absl::StrCat(calls), Number(events, 1),
               Number(rate, 0),
               Number(rate.median * 50 / static_cast<double>(calls), 0)});
    report.Metric(absl::StrCat(shape.key, ".calls_per_second"), rate);
  }
  report.Metric("least.calls_per_second", least);
  std::printf("%s\nThe simulator is meant to do 500000 at least.\n",
              table.Text().c_str());
  return report.Write();
}

}  // namespace
}  // namespace mesh::benchmarks

int main(int argc, char** argv) { return mesh::benchmarks::Main(argc, argv); }
