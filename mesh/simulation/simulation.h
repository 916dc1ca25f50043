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

// Tries a service's configuration against a cluster that is only described:
// its servers, their latencies and limits, what breaks and when, and who
// calls. The calls are decided by the same call machine, balancing, health
// monitor, admission and retry budget that run over gRPC; time and network are
// virtual. Millions of calls a real second, and the same again from the same
// seed. docs/simulation.md is a guide.
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
  // Time that a call takes in the server, once it has begun.
  Distribution latency = Distribution::LogNormal(absl::Milliseconds(5), 0.5);
  // Time on the network, there and back.
  Distribution network = Distribution::Constant(absl::Microseconds(500));
  // Calls that run at once; others queue, first come first served. 0: no
  // limit.
  int slots = 0;
  // Calls that queue at most; others are refused with RESOURCE_EXHAUSTED.
  int queue = 1000;
  // Whether a queued call that its caller has given up is dropped when its
  // turn comes, as good servers do, or executed for nobody.
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
  // kErrors: how long a call that is to fail takes in the server. Empty: as
  // long as any other.
  std::optional<absl::Duration> after;
  // Flapping: there for half of each period, gone for the other. Zero: there
  // all the time.
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

// One kind of request that a load makes: what it costs, and whether it can
// succeed at all, whichever server has it. Load::requests.
struct Request {
  double weight = 1;  // How often it comes among the load's, but for in_turn.
  // Time that it takes in a server. Empty: as the server has it.
  std::optional<Distribution> work;
  // A share of `fails` ends with `code`, when it was for so long in a server:
  // the requests of a tenant that has no more quota, say.
  double fails = 0;
  absl::StatusCode code = absl::StatusCode::kInternal;
  absl::Duration fails_after;
};

// A stream of calls of one method, of all clients together.
struct Load {
  std::string method;
  // Open loop: `rate` calls a second, at random (Poisson) or evenly. Closed
  // loop: `callers` that call, wait for the end, think, and call again. One of
  // the two is 0.
  double rate = 0;
  bool evenly = false;
  int callers = 0;
  Distribution think;
  // What it asks for, at random by weight, or in turn (for each client). Empty:
  // all requests are as the servers have them.
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
  // The configuration that its callers have. Each caller, a server of the tier
  // before, is a client of its own: with its own balancing, budget and health.
  options::ServiceOptions service;
  std::vector<Server> servers;
  // What is called, once for each call that is executed, when the latency of
  // the calling server has passed. The answer is that server's answer.
  std::string method = "/simulated.Tier/Call";
  // What the calling server allows. The method's `timeout` counts too.
  absl::Duration deadline = absl::InfiniteDuration();
};

// All that is simulated.
struct Cluster {
  std::vector<Server> servers;
  // Behind `servers`, each called by the one before. A server is busy until
  // the tier behind it has answered. Addresses are unique in all tiers.
  std::vector<Tier> behind;
  // Whether servers use what mesh/server gives them: calls inherit the deadline
  // of the call under which they are made, and who has retried in vain says so,
  // that its caller does not retry on top.
  bool context_crosses_tiers = true;
  std::vector<Fault> faults;
  std::vector<Load> loads;
  // Processes that call. Each has its own connections, balancing, health,
  // admission and budget; the loads are spread over them evenly.
  int clients = 1;
  // Until a client sees that a connection broke, and until it is connected
  // to a server that is back or new, or once more to one that is silent.
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
  // Share of events that come late, early, twice or where they should not,
  // as far as a shell may deliver them so. For tests of the machine. 0..1.
  double chaos = 0;
  // Sees every decision. May be null.
  telemetry::Observer* observer = nullptr;
  // Once it is true no more calls begin: the observer has seen enough. May be
  // null.
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
    uint64_t succeeded = 0;          // ...and of those, that ended OK.
    uint64_t ok = 0;                 // Calls that ended in it: goodput...
    uint64_t failed = 0;             // ...and not.
    std::vector<uint32_t> attempts;  // Begun in it, by endpoint.
  };
  // What happened in one tier.
  struct Tier {
    size_t first_endpoint = 0;  // Of `endpoints`.
    size_t endpoints = 0;
    uint64_t calls = 0;
    uint64_t ok = 0;
    uint64_t attempts = 0;
    uint64_t retries = 0;  // By policy.
    uint64_t hedges = 0;
    uint64_t denied_by_budget = 0;
  };
  // What happened, or only would have in `observe` mode.
  struct Count {
    uint64_t enforced = 0;
    uint64_t observed = 0;
  };

  // Of the calls of the loads.
  uint64_t calls = 0;
  std::array<uint64_t, 17> ended = {};  // Calls, by status code.
  uint64_t ok() const { return ended[0]; }
  // Calls without deadline that were never answered.
  uint64_t hanging = 0;
  Histogram latency;  // Of those that ended OK.
  Histogram all;
  // Of the calls of all tiers.
  uint64_t attempts = 0;
  uint64_t retries = 0;  // By policy.
  uint64_t hedges = 0;
  uint64_t unmade_hedges = 0;  // In `observe` mode.
  uint64_t transparent_retries = 0;
  uint64_t denied_by_budget = 0;
  uint64_t waited = 0;  // Calls that waited for an endpoint.
  uint64_t probes = 0;  // That health monitors sent.
  // Connections that were dialled beside silent ones, those of them that took
  // the place of one, and silent ones that were ended since they were dead.
  uint64_t second_dials = 0;
  uint64_t replaced = 0;
  uint64_t broken = 0;
  // By base::Guard.
  std::array<Count, base::kGuards> refusals = {};
  // Changes of an endpoint's health in the eyes of one client, by
  // cluster::Health that it came to.
  std::array<Count, cluster::kHealths> health = {};
  const Count& ejections() const {
    return health[static_cast<size_t>(cluster::Health::kEjected)];
  }
  const Count& suspicions() const {
    return health[static_cast<size_t>(cluster::Health::kSuspect)];
  }

  // As Cluster::servers, then the servers of each tier behind.
  std::vector<Endpoint> endpoints;
  std::vector<Tier> tiers;  // The first is Cluster::servers.
  std::vector<Step> steps;
  absl::Duration step;  // Width of one.
  uint64_t events = 0;
  absl::Duration simulated;  // Until the last call had ended.
  // Of the sequence of all decisions. Equal runs have equal hashes.
  uint64_t hash = 0;
  // Broken invariants, at most ten: a bug of ours. Empty when all is well.
  std::vector<std::string> violations;

  // Attempts that begin at the servers of a tier for each call that begins in
  // the same time: of the steps in [from, until). 1 is no amplification. 0
  // when no call begins.
  double Amplification(absl::Duration from, absl::Duration until,
                       size_t tier = 0) const;

  // A table for people.
  std::string Summary() const;
};

// Runs it. INVALID_ARGUMENT, with the field and its value, when the
// description makes no sense. Of `service` the name, balancing, retry budget,
// guards and policies count; its endpoints are the cluster's servers.
absl::StatusOr<Result> Simulate(const options::ServiceOptions& service,
                                const Cluster& cluster,
                                const Options& options = {});

}  // namespace mesh::simulation

#endif  // MESH_SIMULATION_SIMULATION_H_
