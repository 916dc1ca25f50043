#ifndef MESH_BENCHMARKS_OUTAGES_CLIENTS_H_
#define MESH_BENCHMARKS_OUTAGES_CLIENTS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "benchmarks/outages/figures.h"
#include "benchmarks/outages/load.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/support/channel_arguments.h"
#include "mesh/base/mutex.h"
#include "mesh/mesh.h"
#include "mesh/telemetry/observer.h"
#include "mesh/v1/config.pb.h"
#include "tests/process/process.h"

namespace mesh::benchmarks {

// An endpoint as a list has it.
struct Place {
  std::string address;
  int priority = 0;
};
std::vector<Place> Places(const std::vector<std::string>& addresses,
                          int priority = 0);
void Append(std::vector<Place> more, std::vector<Place>* places);

// An endpoints file that may change.
class EndpointList {
 public:
  explicit EndpointList(const std::vector<Place>& places) { Set(places); }
  // In one step for whoever reads it.
  void Set(const std::vector<Place>& places);
  std::string path() const { return directory_.path() + "/endpoints.yaml"; }

 private:
  const test::TempDirectory directory_;
};

// What a mesh says about its endpoints. Thread-safe.
class HealthLog final : public telemetry::Observer {
 public:
  void OnHealth(const telemetry::HealthEvent& event) override;
  void OnAttemptEnd(const telemetry::CallInfo& call,
                    const telemetry::AttemptEvent& event) override;

  // Attempts at `address` count from now on.
  void CountAttemptsAt(const std::string& address);

  // What acted, in the order in which it was told.
  std::vector<HealthChange> changes() const;
  int ejections() const;
  // Attempts at the address since it is counted, until it was ejected.
  int64_t attempts() const;
  bool found() const;

 private:
  mutable base::Mutex mu_;
  std::vector<HealthChange> changes_ ABSL_GUARDED_BY(mu_);
  std::string counted_ ABSL_GUARDED_BY(mu_);
  absl::Time since_ ABSL_GUARDED_BY(mu_);
  int64_t attempts_ ABSL_GUARDED_BY(mu_) = 0;
  bool found_ ABSL_GUARDED_BY(mu_) = false;
};

// A configuration with one service, "test", with `policy: {idempotent: true}`.
v1::Config OneService();
v1::Service& TheService(v1::Config* config);
// The same with endpoints from a file.
v1::Config ServiceIn(const EndpointList& list);

// A client of the servers that a list names. The list may change while calls
// run.
class Client {
 public:
  virtual ~Client() = default;
  // What the next call is made on. Thread-safe.
  virtual StubPtr stub() const = 0;
};

class MeshClient final : public Client {
 public:
  explicit MeshClient(const v1::Config& config,
                      std::shared_ptr<telemetry::Observer> observer = nullptr);
  StubPtr stub() const override { return stub_; }
  Mesh& mesh() { return *mesh_; }

 private:
  std::unique_ptr<Mesh> mesh_;
  StubPtr stub_;
};

// gRPC's round_robin with a retry policy. A changed list is a new channel,
// connected before it is used; what the old one has connected, it shares.
class BareClient final : public Client {
 public:
  explicit BareClient(const std::vector<std::string>& addresses) {
    Set(addresses);
  }
  StubPtr stub() const override;
  void Set(const std::vector<std::string>& addresses);

 private:
  StubPtr stub_;  // Through std::atomic_load and _store.
};
// `credentials` null: plaintext. `arguments` come beside the retry policy.
std::shared_ptr<grpc::Channel> BareChannel(
    const std::vector<std::string>& addresses,
    std::shared_ptr<grpc::ChannelCredentials> credentials = nullptr,
    grpc::ChannelArguments arguments = {});

}  // namespace mesh::benchmarks

#endif  // MESH_BENCHMARKS_OUTAGES_CLIENTS_H_
