#include "benchmarks/outages/clients.h"

#include <atomic>
#include <chrono>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "benchmarks/outages/world.h"
#include "grpcpp/create_channel.h"

namespace mesh::benchmarks {
namespace {

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

}  // namespace

std::vector<Place> Places(const std::vector<std::string>& addresses,
                          int priority) {
  std::vector<Place> places;
  for (const std::string& address : addresses) {
    places.push_back({address, priority});
  }
  return places;
}

void Append(std::vector<Place> more, std::vector<Place>* places) {
  places->insert(places->end(), more.begin(), more.end());
}

void EndpointList::Set(const std::vector<Place>& places) {
  std::string text = "endpoints:\n";
  for (const Place& place : places) {
    absl::StrAppend(&text, "  - {address: \"", place.address,
                    "\", priority: ", place.priority, "}\n");
  }
  directory_.Write("endpoints.yaml", text);
}

// ---------------------------------------------------------------------------
// HealthLog

void HealthLog::OnHealth(const telemetry::HealthEvent& event) {
  if (event.observed) return;
  HealthChange change;
  change.time = event.time;
  change.address = std::string(event.endpoint.address());
  change.ejected = event.to == cluster::Health::kEjected;
  change.out = change.ejected || event.to == cluster::Health::kSuspect;
  base::MutexLock lock(&mu_);
  found_ = found_ || (change.ejected && change.address == counted_);
  changes_.push_back(std::move(change));
}

void HealthLog::OnAttemptEnd(const telemetry::CallInfo&,
                             const telemetry::AttemptEvent& event) {
  base::MutexLock lock(&mu_);
  if (!found_ && event.start >= since_ && !counted_.empty() &&
      event.endpoint.address() == counted_) {
    ++attempts_;
  }
}

void HealthLog::CountAttemptsAt(const std::string& address) {
  base::MutexLock lock(&mu_);
  counted_ = address;
  since_ = Now();
  attempts_ = 0;
  found_ = false;
}

std::vector<HealthChange> HealthLog::changes() const {
  base::MutexLock lock(&mu_);
  return changes_;
}

int HealthLog::ejections() const {
  base::MutexLock lock(&mu_);
  int ejections = 0;
  for (const HealthChange& change : changes_) ejections += change.ejected;
  return ejections;
}

int64_t HealthLog::attempts() const {
  base::MutexLock lock(&mu_);
  return attempts_;
}

bool HealthLog::found() const {
  base::MutexLock lock(&mu_);
  return found_;
}

// ---------------------------------------------------------------------------
// Clients

v1::Config OneService() {
  v1::Config config;
  TheService(&config).mutable_policy()->set_idempotent(true);
  return config;
}

v1::Service& TheService(v1::Config* config) {
  return (*config->mutable_services())["test"];
}

v1::Config ServiceIn(const EndpointList& list) {
  v1::Config config = OneService();
  TheService(&config).mutable_endpoints_file()->set_path(list.path());
  return config;
}

MeshClient::MeshClient(const v1::Config& config,
                       std::shared_ptr<telemetry::Observer> observer) {
  Options options;
  options.log_sink = [](LogSeverity severity, absl::string_view text) {
    if (severity != LogSeverity::kError) return;
    std::fprintf(stderr, "%.*s\n", static_cast<int>(text.size()), text.data());
  };
  if (observer != nullptr) options.observers.push_back(std::move(observer));
  auto mesh = Mesh::Create(config, std::move(options));
  if (!mesh.ok()) Die(mesh.status().message());
  mesh_ = *std::move(mesh);
  stub_ = test::TestService::NewStub(mesh_->Channel("test"));
}

std::shared_ptr<grpc::Channel> BareChannel(
    const std::vector<std::string>& addresses,
    std::shared_ptr<grpc::ChannelCredentials> credentials,
    grpc::ChannelArguments arguments) {
  if (credentials == nullptr) credentials = grpc::InsecureChannelCredentials();
  arguments.SetServiceConfigJSON(kServiceConfig);
  return grpc::CreateCustomChannel(
      absl::StrCat("ipv4:", absl::StrJoin(addresses, ",")),
      std::move(credentials), arguments);
}

StubPtr BareClient::stub() const { return std::atomic_load(&stub_); }

void BareClient::Set(const std::vector<std::string>& addresses) {
  std::shared_ptr<grpc::Channel> channel = BareChannel(addresses);
  channel->WaitForConnected(std::chrono::system_clock::now() +
                            std::chrono::seconds(5));
  std::atomic_store(&stub_,
                    StubPtr(test::TestService::NewStub(std::move(channel))));
}

}  // namespace mesh::benchmarks
