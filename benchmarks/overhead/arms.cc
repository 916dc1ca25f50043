#include "benchmarks/overhead/arms.h"

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "benchmarks/overhead/tls_files.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/security/tls_certificate_provider.h"
#include "grpcpp/security/tls_credentials_options.h"
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

// `base`: as in ReadTlsFiles(). Empty: plaintext.
std::shared_ptr<grpc::ChannelInterface> MeshChannel(
    const std::vector<std::string>& addresses, bool idempotent,
    const std::string& base = "") {
  v1::Config config;
  v1::Service& service = (*config.mutable_services())["echo"];
  for (const std::string& address : addresses) {
    service.add_endpoints()->set_address(address);
  }
  if (!base.empty()) {
    v1::IdentityFiles& files = *config.mutable_identity()->mutable_files();
    files.set_cert(base + ".crt");
    files.set_key(base + ".key");
    files.set_ca(BundleFile(base));
    service.mutable_tls()->add_peer(kEchoId);
  }
  if (idempotent) service.mutable_policy()->set_idempotent(true);
  absl::StatusOr<std::unique_ptr<Mesh>> mesh = Mesh::Create(config);
  if (!mesh.ok()) Die(mesh.status().ToString());
  // Lives as long as the process, as in a service.
  return mesh->release()->Channel("echo");
}

std::shared_ptr<grpc::ChannelInterface> BareTlsChannel(
    const std::string& address, const std::string& base) {
  absl::StatusOr<TlsTexts> texts = ReadTlsFiles(base);
  if (!texts.ok()) Die(texts.status().message());
  grpc::experimental::IdentityKeyCertPair pair;
  pair.private_key = texts->key;
  pair.certificate_chain = texts->chain;
  grpc::experimental::TlsChannelCredentialsOptions options;
  options.set_certificate_provider(
      std::make_shared<grpc::experimental::StaticDataCertificateProvider>(
          texts->bundle,
          std::vector<grpc::experimental::IdentityKeyCertPair>{pair}));
  options.watch_root_certs();
  options.watch_identity_key_cert_pairs();
  grpc::ChannelArguments args;
  args.SetSslTargetNameOverride(kEchoDnsName);
  return grpc::CreateCustomChannel(
      address, grpc::experimental::TlsCredentials(options), args);
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
  absl::string_view base = arm;
  if (absl::ConsumePrefix(&base, "bare_mtls=")) {
    return BareTlsChannel(addresses[0], std::string(base));
  }
  if (absl::ConsumePrefix(&base, "mesh_mtls=")) {
    return MeshChannel(addresses, /*idempotent=*/true, std::string(base));
  }
  Die(absl::StrCat("--arm=", arm, " is unknown"));
}

}  // namespace mesh::benchmarks
