#ifndef MESH_BENCHMARKS_FAILOVER_ARMS_H_
#define MESH_BENCHMARKS_FAILOVER_ARMS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "mesh/base/mutex.h"
#include "mesh/mesh.h"
#include "mesh/telemetry/observer.h"
#include "tests/support/test_service.grpc.pb.h"

namespace mesh::benchmarks {

enum class Arm {
  kMesh,        // Shipped defaults; all methods are idempotent.
  kMeshHedged,  // The same with hedging on.
  kMeshOnce,    // Shipped defaults and nothing said: no method may be executed
                // twice.
  kRoundRobin,  // gRPC's round_robin, retryPolicy with maxAttempts 4.
};
// As in metrics: "mesh", "mesh_hedged", "mesh_once", "round_robin".
const char* NameOf(Arm arm);

// Where a client's attempts and probes went, by address and time. Thread-safe.
class AttemptLog final : public telemetry::Observer {
 public:
  void OnAttemptEnd(const telemetry::CallInfo& call,
                    const telemetry::AttemptEvent& event) override;
  void OnProbe(const telemetry::ProbeEvent& event) override;

  struct Sent {
    absl::Time at;  // Monotonic (base::Clock).
    bool to_victim = false;
    bool probe = false;
  };
  // Attempts that have ended, and probes, in the order of their beginnings.
  std::vector<Sent> To(const std::string& victim) const;

 private:
  struct Entry {
    absl::Time at;
    std::string address;
    bool probe = false;
  };
  void Add(absl::Time at, const cluster::EndpointView& endpoint, bool probe);

  mutable base::Mutex mu_;
  std::vector<Entry> entries_ ABSL_GUARDED_BY(mu_);
};

// A client of the servers that a list names, by one of the arms. The list may
// change while calls run.
class Client {
 public:
  using StubPtr = std::shared_ptr<test::TestService::Stub>;

  virtual ~Client() = default;
  // What the next call is made on. Thread-safe.
  virtual StubPtr stub() const = 0;
  // Publishes the list, and returns at once.
  virtual void SetEndpoints(const std::vector<std::string>& addresses) = 0;
  // Hedges, refusals, health changes and probes of a mesh, in a line for a
  // person. Empty for gRPC's.
  virtual std::string Story() const { return ""; }
};

// `directory` is for the list; `log` may be null, and is told nothing by gRPC's
// arm.
std::unique_ptr<Client> MakeClient(Arm arm, const std::string& directory,
                                   const std::vector<std::string>& addresses,
                                   std::shared_ptr<AttemptLog> log);

}  // namespace mesh::benchmarks

#endif  // MESH_BENCHMARKS_FAILOVER_ARMS_H_
