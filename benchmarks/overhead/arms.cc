#include "benchmarks/overhead/arms.h"

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/support/channel_arguments.h"
#include "mesh/mesh.h"
#include "mesh/v1/config.pb.h"

namespace mesh::benchmarks {
namespace {

[[noreturn]] void Die(absl::string_view what) {
  std::fprintf(stderr, "%.*s\n", static_cast<int>(what.size()), what.data());
  std::exit(1);
}

constexpr char kRoundRobinWithRetries[] = R"({
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

std::shared_ptr<grpc::ChannelInterface> MeshChannel(
    const std::vector<std::string>& addresses, bool idempotent) {
  v1::Config config;
  v1::Service& service = (*config.mutable_services())["echo"];
  for (const std::string& address : addresses) {
    service.add_endpoints()->set_address(address);
  }
  if (idempotent) service.mutable_policy()->set_idempotent(true);
  absl::StatusOr<std::unique_ptr<Mesh>> mesh = Mesh::Create(config);
  if (!mesh.ok()) Die(mesh.status().ToString());
  // Lives as long as the process, as in a service.
  return mesh->release()->Channel("echo");
}

}  // namespace

std::shared_ptr<grpc::ChannelInterface> MakeChannel(
    absl::string_view arm, const std::vector<std::string>& addresses) {
  if (addresses.empty()) Die("no address to call");
  const auto credentials = grpc::InsecureChannelCredentials();
  if (arm == "bare") return grpc::CreateChannel(addresses[0], credentials);
  if (arm == "bare_again") {
    // Channels with equal arguments would share one connection.
    grpc::ChannelArguments args;
    args.SetInt("mesh.benchmarks.again", 1);
    return grpc::CreateCustomChannel(addresses[0], credentials, args);
  }
  if (arm == "round_robin") {
    grpc::ChannelArguments args;
    args.SetServiceConfigJSON(kRoundRobinWithRetries);
    return grpc::CreateCustomChannel(
        absl::StrCat("ipv4:", absl::StrJoin(addresses, ",")), credentials,
        args);
  }
  if (arm == "mesh") return MeshChannel(addresses, /*idempotent=*/true);
  if (arm == "mesh_once") return MeshChannel(addresses, /*idempotent=*/false);
  Die(absl::StrCat("--arm=", arm, " is unknown"));
}

}  // namespace mesh::benchmarks
