#ifndef MESH_SECURITY_CLIENT_CREDENTIALS_H_
#define MESH_SECURITY_CLIENT_CREDENTIALS_H_

#include <functional>
#include <memory>
#include <vector>

#include "absl/time/time.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/security/tls_certificate_provider.h"
#include "mesh/options/security.h"
#include "mesh/security/client_counters.h"
#include "mesh/security/identity.h"
#include "mesh/security/peer_pattern.h"

namespace mesh::security {

// The client door of one generation and one service: what its connections show,
// and which servers they admit. Immutable; thread-safe. Connections outlive it.
//
// A server passes two checks. gRPC verifies its chain by all bundles of the
// identity together, so an error in mesh alone admits nobody. Then VerifyPeer()
// judges the same chain: by the one bundle that vouches for the name, and by
// names and revocation lists. It does no I/O, and takes no lock that a publish
// holds. A call over a connection that is refused says why.
//
// TLS is 1.2 or 1.3 with gRPC's ciphers and ALPN "h2". No session is resumed.
class ClientCredentials {
 public:
  // Which servers are meant.
  struct Peer {
    // The server has one of these names; no address and no authority counts.
    // Empty: its certificate is for the connection's authority, as
    // grpc::SslCredentials() has it; a call's own authority counts, too.
    std::vector<PeerPattern> allowed;
    options::CrlMode crl = options::CrlMode::kDefault;
    bool one_bundle = false;  // As PeerPolicy has it.
  };

  // `wall` is the clock for dates. It is called in handshakes, on any thread.
  // Nothing keeps `identity`, with its key, but gRPC's own copy of the pair.
  //
  // An identity without any bundle means the system's authorities, and then all
  // is left to grpc::SslCredentials(): mesh has nothing to judge by. With names
  // or with revocation lists there has to be a bundle; without one each server
  // is refused.
  ClientCredentials(const IdentityPtr& identity, Peer peer,
                    std::function<absl::Time()> wall,
                    std::shared_ptr<ClientCounters> counters);

  // Credentials for one connection. `expires`, which may be null, is called in
  // each handshake that admits a server, on any thread, with the time from
  // which the verdict holds no longer. It must not block. With the system's
  // authorities it is never called.
  std::shared_ptr<grpc::ChannelCredentials> Make(
      std::function<void(absl::Time)> expires) const;

 private:
  class Door;
  class Verifier;

  std::shared_ptr<const Door> door_;
  bool has_bundles_;
  bool has_chain_;
  // One of the two is null.
  std::shared_ptr<grpc::experimental::StaticDataCertificateProvider> provider_;
  std::shared_ptr<grpc::ChannelCredentials> system_;
};

}  // namespace mesh::security

#endif  // MESH_SECURITY_CLIENT_CREDENTIALS_H_
