#ifndef MESH_SERVICE_CONNECTIONS_TEST_UTIL_H_
#define MESH_SERVICE_CONNECTIONS_TEST_UTIL_H_

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "mesh/service/connections.h"
#include "mesh/service/service_test_util.h"

namespace mesh::service {

using cluster::Readiness;
using Addresses = std::vector<std::string>;

inline cluster::EndpointSet SetOf(const Addresses& addresses) {
  cluster::EndpointSet set;
  for (const std::string& address : addresses) {
    cluster::Endpoint endpoint;
    endpoint.address = address;
    set.endpoints.push_back(std::move(endpoint));
  }
  return set;
}

class ConnectionsTest : public ::testing::Test, protected Connections::Host {
 protected:
  ConnectionsTest() {
    Connections::Seams seams;
    seams.control = control_.scheduler;
    seams.clock = &control_.clock;
    seams.wall = [this] { return control_.clock.Now() + kWallIsAhead; };
    seams.gate = &gate_;
    connections_.emplace(std::move(seams),
                         static_cast<Connections::Host*>(this));
    settings_.secrets = FixedSecrets(grpc::InsecureChannelCredentials());
    settings_.options.ahead = 32;
    settings_.options.initial_backoff = absl::Seconds(1);
    settings_.options.drain_timeout = absl::Seconds(10);
  }

  std::unique_ptr<Connection> MakeConnection(
      const cluster::Endpoint& endpoint,
      std::shared_ptr<const ConnectionSettings> settings, uint64_t number,
      Secrets::Expires expires) override {
    return network_.Maker()(endpoint, std::move(settings), number,
                            std::move(expires));
  }
  void PollWhileConnecting() override { ++polls_; }
  void CloseConnection(std::unique_ptr<Connection>) override { ++closes_; }
  void EndOwnCalls(const ConnectedEndpoint* endpoint) override {
    closed_.push_back(endpoint->endpoint().address);
    EXPECT_TRUE(endpoint->closed());
  }
  void CutOff(const ConnectedEndpoint* endpoint,
              LiveStreams::Cause cause) override {
    causes_.push_back(cause);
    cut_off_.push_back(endpoint->endpoint().address);
  }
  void OnConnected(cluster::LiveEndpoint* endpoint) override {
    connected_.push_back(endpoint->endpoint().address);
  }
  void OnConnectionLost() override { ++lost_; }
  void OnReadinessChange() override { ++changes_; }
  void OnAskedInVain() override { ++in_vain_; }

  void Begin(const Addresses& addresses) {
    connections_->Configure(settings_);
    connections_->Update(SetOf(addresses));
    control_.loop.Run();
  }
  cluster::LiveEndpointPtr Endpoint(const std::string& address) {
    for (const cluster::Member& member : connections_->members()) {
      if (member.live->endpoint().address == address) return member.live;
    }
    return nullptr;
  }
  Readiness ReadinessOf(const std::string& address) {
    const cluster::LiveEndpointPtr endpoint = Endpoint(address);
    if (endpoint != nullptr) return endpoint->readiness();
    ADD_FAILURE() << address << " is no endpoint";
    return Readiness::kIdle;
  }
  void Set(const std::string& address, grpc_connectivity_state state) {
    network_.Set(address, state);
    control_.loop.Run();
  }
  void Advance(absl::Duration by) { control_.loop.Advance(by); }
  // Keeps only `addresses`; the others are retired.
  void Keep(const Addresses& addresses) {
    connections_->Retire(connections_->Update(SetOf(addresses)).removed);
  }

  RenewalGate gate_{2};
  FakeControl control_;
  FakeNetwork network_;
  void OnReplaced(cluster::LiveEndpoint* before,
                  cluster::LiveEndpoint* now) override {
    EXPECT_EQ(before->endpoint().address, now->endpoint().address);
    replaced_.push_back(now->endpoint().address);
    // As the monitor has it for those that OnConnected() does not heal.
    if (before->health() == cluster::Health::kEjected) {
      now->set_health(before->health(), before->share());
    }
  }

  int polls_ = 0;
  int closes_ = 0;
  int in_vain_ = 0;
  int lost_ = 0;
  int changes_ = 0;
  Addresses connected_;
  Addresses replaced_;
  Addresses closed_;
  Addresses cut_off_;
  std::vector<LiveStreams::Cause> causes_;
  ConnectionSettings settings_;
  std::optional<Connections> connections_;
};

}  // namespace mesh::service

#endif  // MESH_SERVICE_CONNECTIONS_TEST_UTIL_H_
