#include "benchmarks/failover/arms.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/support/channel_arguments.h"
#include "mesh/v1/config.pb.h"

namespace mesh::benchmarks {
namespace {

[[noreturn]] void Die(absl::string_view what) {
  std::fprintf(stderr, "failover_bench: %.*s\n", static_cast<int>(what.size()),
               what.data());
  std::exit(1);
}

// In one step for whoever reads it.
void WriteFile(const std::string& path, absl::string_view text) {
  const std::string temporary = path + ".new";
  std::ofstream(temporary, std::ios::binary) << text;
  if (std::rename(temporary.c_str(), path.c_str()) != 0) {
    Die("cannot write " + path);
  }
}

class MeshClient final : public Client {
 public:
  MeshClient(Arm arm, const std::string& directory,
             const std::vector<std::string>& addresses,
             std::shared_ptr<AttemptLog> log)
      : list_(directory + "/endpoints.yaml") {
    SetEndpoints(addresses);
    v1::Config config;
    v1::Service& service = (*config.mutable_services())["test"];
    service.mutable_endpoints_file()->set_path(list_);
    if (arm != Arm::kMeshOnce) service.mutable_policy()->set_idempotent(true);
    if (arm == Arm::kMeshHedged) {
      service.mutable_policy()->mutable_hedging()->set_mode(v1::MODE_ENFORCE);
    }
    Options options;
    options.log_sink = [](LogSeverity severity, absl::string_view text) {
      if (severity != LogSeverity::kError) return;
      std::fprintf(stderr, "%.*s\n", static_cast<int>(text.size()),
                   text.data());
    };
    if (log != nullptr) options.observers.push_back(std::move(log));
    auto mesh = Mesh::Create(config, std::move(options));
    if (!mesh.ok()) Die(mesh.status().message());
    mesh_ = *std::move(mesh);
    stub_ = test::TestService::NewStub(mesh_->Channel("test"));
  }

  StubPtr stub() const override { return stub_; }

  void SetEndpoints(const std::vector<std::string>& addresses) override {
    std::string text = "endpoints:\n";
    for (const std::string& address : addresses) {
      absl::StrAppend(&text, "  - ", address, "\n");
    }
    WriteFile(list_, text);
  }

  std::string Story() const override {
    std::vector<std::string> parts;
    const telemetry::Snapshot snapshot = mesh_->Metrics();
    for (const telemetry::ServiceSnapshot& service : snapshot.services) {
      uint64_t retries = 0, transparent = 0, hedges = 0, won = 0;
      for (const telemetry::MethodSnapshot& method : service.methods) {
        retries += method.retries;
        transparent += method.transparent_retries;
        hedges += method.hedges;
        won += method.hedges_won;
      }
      parts.push_back(absl::StrCat(retries, " retries, ", transparent,
                                   " transparent, ", hedges, " hedges (", won,
                                   " won), ", service.probes_sent, " probes"));
      if (service.retries_denied_by_budget > 0) {
        parts.push_back(absl::StrCat(service.retries_denied_by_budget,
                                     " denied by the budget"));
      }
      for (const telemetry::RefusalSnapshot& refusal : service.refusals) {
        parts.push_back(absl::StrCat(refusal.enforced, " refused by ",
                                     refusal.guard, " (", refusal.observed,
                                     " observed)"));
      }
      for (const telemetry::HealthChangeSnapshot& change :
           service.health_changes) {
        parts.push_back(
            absl::StrCat(change.enforced, " ", change.to, "/", change.cause));
      }
    }
    return absl::StrJoin(parts, ", ");
  }

 private:
  const std::string list_;
  std::unique_ptr<Mesh> mesh_;
  StubPtr stub_;
};

constexpr char kServiceConfig[] = R"({
  "loadBalancingConfig": [{"round_robin": {}}],
  "methodConfig": [{
    "name": [{}],
    "retryPolicy": {
      "maxAttempts": 4,
      "initialBackoff": "0.025s",
      "maxBackoff": "1s",
      "backoffMultiplier": 2,
      "retryableStatusCodes": ["UNAVAILABLE"]
    }
  }]
})";

// gRPC has no endpoints in a file: a changed list is a new channel, connected
// before it is used. What the old one has connected, the new one shares.
class GrpcClient final : public Client {
 public:
  explicit GrpcClient(const std::vector<std::string>& addresses) {
    SetEndpoints(addresses);
  }

  StubPtr stub() const override { return std::atomic_load(&stub_); }

  void SetEndpoints(const std::vector<std::string>& addresses) override {
    grpc::ChannelArguments arguments;
    arguments.SetServiceConfigJSON(kServiceConfig);
    // Reconnects as soon as a mesh does; gRPC's own default is 1 s.
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 250);
    std::shared_ptr<grpc::Channel> channel = grpc::CreateCustomChannel(
        absl::StrCat("ipv4:", absl::StrJoin(addresses, ",")),
        grpc::InsecureChannelCredentials(), arguments);
    channel->WaitForConnected(std::chrono::system_clock::now() +
                              std::chrono::seconds(5));
    std::atomic_store(&stub_,
                      StubPtr(test::TestService::NewStub(std::move(channel))));
  }

 private:
  StubPtr stub_;  // Through std::atomic_load and _store.
};

}  // namespace

const char* NameOf(Arm arm) {
  switch (arm) {
    case Arm::kMesh:
      return "mesh";
    case Arm::kMeshHedged:
      return "mesh_hedged";
    case Arm::kMeshOnce:
      return "mesh_once";
    case Arm::kRoundRobin:
      return "round_robin";
  }
  return "";
}

void AttemptLog::OnAttemptEnd(const telemetry::CallInfo&,
                              const telemetry::AttemptEvent& event) {
  Add(event.start, event.endpoint, /*probe=*/false);
}

void AttemptLog::OnProbe(const telemetry::ProbeEvent& event) {
  if (event.stage != telemetry::ProbeEvent::Stage::kSent) return;
  Add(event.time, event.endpoint, /*probe=*/true);
}

void AttemptLog::Add(absl::Time at, const cluster::EndpointView& endpoint,
                     bool probe) {
  base::MutexLock lock(&mu_);
  entries_.push_back({at, std::string(endpoint.address()), probe});
}

std::vector<AttemptLog::Sent> AttemptLog::To(const std::string& victim) const {
  std::vector<Sent> all;
  {
    base::MutexLock lock(&mu_);
    all.reserve(entries_.size());
    for (const Entry& entry : entries_) {
      all.push_back({entry.at, entry.address == victim, entry.probe});
    }
  }
  std::sort(all.begin(), all.end(),
            [](const Sent& a, const Sent& b) { return a.at < b.at; });
  return all;
}

std::unique_ptr<Client> MakeClient(Arm arm, const std::string& directory,
                                   const std::vector<std::string>& addresses,
                                   std::shared_ptr<AttemptLog> log) {
  if (arm == Arm::kRoundRobin) return std::make_unique<GrpcClient>(addresses);
  return std::make_unique<MeshClient>(arm, directory, addresses,
                                      std::move(log));
}

}  // namespace mesh::benchmarks
