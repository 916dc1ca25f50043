#ifndef MESH_SIMULATION_SIMULATION_H_
#define MESH_SIMULATION_SIMULATION_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mesh/base/guard.h"
#include "mesh/cluster/health.h"
#include "mesh/options/service.h"
#include "mesh/simulation/distribution.h"
#include "mesh/telemetry/observer.h"

// Tries a service's configuration against a cluster that is only described: its
// servers, their latencies and limits, what breaks and when, and who calls.
// Calls are decided by the same call machine, balancing, health monitor,
// admission and retry budget that run over gRPC. Only time and network are
// virtual. It simulates millions of calls per real second. One seed always
// gives the same result. docs/simulation.md is a guide.
//
//   Cluster cluster;
//   cluster.servers = {{"a:1"}, {"b:1"}, {"c:1"}};
//   cluster.faults = {Fault::Slow("b:1", absl::Seconds(10), absl::Seconds(20),
//                                 20)};
//   cluster.loads = {Load::Open("/shop.Catalog/List", 1000)};
//   auto result = Simulate(service, cluster);
//   result->latency.Quantile(0.99)

namespace mesh::simulation {

// One server process, which is one endpoint. Times here and below are counted
// from the start of the simulation.
struct Server {
  std::string address;  // A name is enough. Unique.
  // How long a call takes in the server, once it has begun.
  Distribution latency = Distribution::LogNormal(absl::Milliseconds(5), 0.5);
  // Time on the network, there and back.
  Distribution network = Distribution::Constant(absl::Microseconds(500));
  // How many calls run at once; others queue, first come first served. 0: no
  // limit.
  int slots = 0;
  // How many calls queue at most; others are refused with RESOURCE_EXHAUSTED.
  int queue = 1000;
  // Whether a queued call that its caller has given up is dropped when its turn
  // comes, as good servers do. Otherwise it is executed for nobody.
  bool drops_abandoned = true;
  uint32_t weight = 1;    // As config has it.
  uint32_t priority = 0;  // As config has it.
  std::string zone;       // As config has it.
  // When discovery lists it.
  absl::Duration listed_from;
  absl::Duration listed_until = absl::InfiniteDuration();
};

// Something wrong with one server for a time.
struct Fault {
  enum class Kind {
    kDown,      // Killed: what it had is lost, what comes is refused.
    kDraining,  // Finishes what it has; what comes is refused, unseen.
    kSilence,   // What comes is swallowed and never answered; but the probes
                // of health monitors are, when it ends.
    kSlow,      // Takes `factor` times as long.
    kErrors,    // Ends a share of `share` with `code`.
    kDeadConnections,  // All connections to it fall silent for ever, and stay
                       // open: a NAT or a relay has forgotten them. One that is
                       // made later works. At `from`, and then each `period`.
  };
  Kind kind = Kind::kDown;
  std::string address;
  absl::Duration from;
  absl::Duration until = absl::InfiniteDuration();
  double factor = 1;
  double share = 1;
  absl::StatusCode code = absl::StatusCode::kUnavailable;
  // For kErrors: how long a call that is to fail takes in the server. Empty: as
  // long as any other.
  std::optional<absl::Duration> after;
  // Flapping: present for half of each period, absent for the other. Zero:
  // present all the time.
  absl::Duration period;

  static Fault Down(std::string address, absl::Duration from,
                    absl::Duration until);
  static Fault Draining(std::string address, absl::Duration from,
                        absl::Duration until);
  static Fault Silence(std::string address, absl::Duration from,
                       absl::Duration until);
  static Fault Slow(std::string address, absl::Duration from,
                    absl::Duration until, double factor);
  static Fault Errors(std::string address, absl::Duration from,
                      absl::Duration until, double share,
                      absl::StatusCode code);
  static Fault DeadConnections(std::string address, absl::Duration at);
};

// One kind of request that a load makes. It says what the request costs, and
// whether it can succeed at all, whichever server has it. See Load::requests.
struct Request {
  double weight = 1;  // How often it comes among the load's, unless in_turn.
  // How long it takes in a server. Empty: the server decides.
  std::optional<Distribution> work;
  // A share of `fails` ends with `code`, after this long in a server. Example:
  // the requests of a tenant that has no more quota.
  double fails = 0;
  absl::StatusCode code = absl::StatusCode::kInternal;
  absl::Duration fails_after;
};

// A stream of calls of one method, of all clients together.
struct Load {
  std::string method;
  // Open loop: `rate` calls per second, at random (Poisson) or evenly. Closed
  // loop: `callers` that call, wait for the end, think, and call again. One of
  // the two is 0.
  double rate = 0;
  bool evenly = false;
  int callers = 0;
  Distribution think;
  // What it asks for, at random by weight, or in turn (for each client). Empty:
  // the servers decide about all requests.
  std::vector<Request> requests;
  bool in_turn = false;
  absl::Duration from;
  absl::Duration until = absl::InfiniteDuration();  // The simulation's end.
  // What the caller allows. The method's `timeout` counts too.
  absl::Duration deadline = absl::Seconds(10);
  bool wait_for_ready = false;
  // Whether the request can be sent again (all unary calls).
  bool replayable = true;
  // Server streaming: the first message of an answer comes when half of its
  // time has passed, and commits the call.
  bool stream = false;
  // A share of `cancel_share` is cancelled `cancel_after` its start.
  double cancel_share = 0;
  Distribution cancel_after;

  static Load Open(std::string method, double rate);
  static Load Closed(std::string method, int callers);
};

// A service that others call while they serve.
struct Tier {
  // The configuration of its callers. Each caller is a server of the tier
  // before. It is a client with its own balancing, budget and health.
  options::ServiceOptions service;
  std::vector<Server> servers;
  // What is called, once per executed call, when the latency of the calling
  // server has passed. The answer is that server's answer.
  std::string method = "/simulated.Tier/Call";
  // What the calling server allows. The method's `timeout` counts too.
  absl::Duration deadline = absl::InfiniteDuration();
};

// All that is simulated.
struct Cluster {
  std::vector<Server> servers;
  // The tiers behind `servers`; each is called by the one before. A server is
  // busy until the tier behind it has answered. Addresses are unique in all
  // tiers.
  std::vector<Tier> behind;
  // Whether servers use what mesh/server gives them. Then calls inherit the
  // deadline of the call that they serve. A server that has retried in vain
  // says so, and its caller does not retry on top.
  bool context_crosses_tiers = true;
  std::vector<Fault> faults;
  std::vector<Load> loads;
  // Processes that call. Each has its own connections, balancing, health,
  // admission and budget. The loads are spread over them evenly.
  int clients = 1;
  // How long it takes until a client sees that a connection broke. Also until
  // it is connected to a server that is back or new, or once more to a silent
  // one.
  Distribution detection = Distribution::Exponential(absl::Milliseconds(2));
  Distribution reconnection =
      Distribution::Exponential(absl::Milliseconds(200));
};

struct Options {
  uint64_t seed = 1;
  // Calls begin until then. The simulation goes on until all have ended.
  absl::Duration duration = absl::Seconds(60);
  // Width of a step of the result's timeline.
  absl::Duration step = absl::Seconds(1);
  // The share of events that come late, early, twice or where they should not,
  // as far as a shell may deliver them so. For tests of the machine. 0..1.
  double chaos = 0;
  // Sees every decision. May be null.
  telemetry::Observer* observer = nullptr;
  // Once it is true no more calls begin, since the observer has seen enough.
  // May be null.
  const bool* enough = nullptr;
};

// Durations, counted in buckets no wider than 3% of their value.
class Histogram {
 public:
  void Add(int64_t nanoseconds);
  uint64_t count() const { return count_; }
  absl::Duration Mean() const;
  absl::Duration Max() const { return absl::Nanoseconds(max_); }
  // `q` in [0, 1]. Zero when nothing was counted.
  absl::Duration Quantile(double q) const;

 private:
  static constexpr int kSubBits = 5;
  std::array<uint64_t, 64 << kSubBits> counts_ = {};
  uint64_t count_ = 0;
  double sum_ = 0;
  int64_t max_ = 0;
};

// What happened.
struct Result {
  struct Endpoint {
    std::string address;
    uint64_t attempts = 0;
    std::array<uint64_t, 17> ended = {};  // Attempts, by status code.
    uint64_t never_sent = 0;
    uint64_t executed = 0;  // Begun by the server.
    uint64_t wasted = 0;    // Executed for a caller that had given up.
  };
  struct Step {
    uint64_t started = 0;            // Calls that began in this step...
    uint64_t succeeded = 0;          // ...and ended OK.
    uint64_t ok = 0;                 // Calls that ended OK in it: goodput...
    uint64_t failed = 0;             // ...and those that failed.
    std::vector<uint32_t> attempts;  // Attempts that began in it, by endpoint.
  };
  // What happened in one tier.
  struct Tier {
    size_t first_endpoint = 0;  // Its index in `endpoints`.
    size_t endpoints = 0;
    uint64_t calls = 0;
    uint64_t ok = 0;
    uint64_t attempts = 0;
    uint64_t retries = 0;  // Retries by policy.
    uint64_t hedges = 0;
    uint64_t denied_by_budget = 0;
  };
  // What happened. In `observe` mode: what would have happened.
  struct Count {
    uint64_t enforced = 0;
    uint64_t observed = 0;
  };

  // What became of the loads' calls.
  uint64_t calls = 0;
  std::array<uint64_t, 17> ended = {};  // Calls, by status code.
  uint64_t ok() const { return ended[0]; }
  // Calls without deadline that were never answered.
  uint64_t hanging = 0;
  Histogram latency;  // The latency of calls that ended OK.
  Histogram all;
  // What happened to the calls of all tiers.
  uint64_t attempts = 0;
  uint64_t retries = 0;  // Retries by policy.
  uint64_t hedges = 0;
  uint64_t unmade_hedges = 0;  // In `observe` mode.
  uint64_t transparent_retries = 0;
  uint64_t denied_by_budget = 0;
  uint64_t waited = 0;  // Calls that waited for an endpoint.
  uint64_t probes = 0;  // Probes of the health monitors.
  // Connections that were dialled beside silent ones. Those of them that took
  // the place of one. Silent ones that were ended because they were dead.
  uint64_t second_dials = 0;
  uint64_t replaced = 0;
  uint64_t broken = 0;
  // By base::Guard.
  std::array<Count, base::kGuards> refusals = {};
  // Changes of an endpoint's health in the eyes of one client, by the
  // cluster::Health that it came to.
  std::array<Count, cluster::kHealths> health = {};
  const Count& ejections() const {
    return health[static_cast<size_t>(cluster::Health::kEjected)];
  }
  const Count& suspicions() const {
    return health[static_cast<size_t>(cluster::Health::kSuspect)];
  }

  // In the order of Cluster::servers, then of the servers of each tier behind.
  std::vector<Endpoint> endpoints;
  std::vector<Tier> tiers;  // The first is Cluster::servers.
  std::vector<Step> steps;
  absl::Duration step;  // The width of one step.
  uint64_t events = 0;
  absl::Duration simulated;  // The time until the last call had ended.
  // A hash of the sequence of all decisions. Equal runs have equal hashes.
  uint64_t hash = 0;
  // Broken invariants, at most ten: a bug of ours. Empty when all is well.
  std::vector<std::string> violations;

  // How many attempts begin at the servers of a tier per call that begins in
  // the same time. It looks at the steps in [from, until). 1 is no
  // amplification. 0 when no call begins.
  double Amplification(absl::Duration from, absl::Duration until,
                       size_t tier = 0) const;

  // A table for people.
  std::string Summary() const;
};

// Runs the simulation. INVALID_ARGUMENT, with the field and its value, when the
// description makes no sense. It uses the name, balancing, retry budget, guards
// and policies of `service`. The cluster's servers are its endpoints.
absl::StatusOr<Result> Simulate(const options::ServiceOptions& service,
                                const Cluster& cluster,
                                const Options& options = {});

}  // namespace mesh::simulation

#endif  // MESH_SIMULATION_SIMULATION_H_
