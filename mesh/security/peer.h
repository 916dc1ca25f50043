#ifndef MESH_SECURITY_PEER_H_
#define MESH_SECURITY_PEER_H_

#include <string>
#include <vector>

namespace mesh::security {

// Who is at the other end of a connection, as a verified certificate says.
struct Peer {
  bool plaintext = false;  // No TLS: it has no name.
  std::string spiffe_id;   // "spiffe://prod/cart". Empty: it has none.
  std::vector<std::string> dns_names;  // As the certificate has them.

  bool operator==(const Peer& o) const {
    return plaintext == o.plaintext && spiffe_id == o.spiffe_id &&
           dns_names == o.dns_names;
  }
};

}  // namespace mesh::security

#endif  // MESH_SECURITY_PEER_H_
