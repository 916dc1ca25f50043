#ifndef MESH_CERTS_COMPARE_H_
#define MESH_CERTS_COMPARE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mesh/security/identity.h"
#include "mesh/security/peer_pattern.h"

namespace mesh::certs {

// What one end of a connection has.
struct End {
  std::string name;  // For the report: its directory.
  security::IdentityBytes bytes;
  // Whom it talks to. Empty: everybody who is trusted.
  std::vector<security::PeerPattern> peers;
};

// Reads the files of a directory: tls.crt and tls.key if they are there,
// ca.crt, and crl.pem if it is there and not empty. An error names the file.
absl::StatusOr<End> ReadEnd(const std::string& directory);

struct Report {
  bool good = true;  // Nothing but warnings.
  std::vector<std::string> lines;
};

// Whether `a` and `b` would talk to each other at `now`, each as the client of
// the other's server, and why not. An end that has lists requires them for
// every issuer. Both ends are looked at on their own, too.
Report Compare(const End& a, const End& b, absl::Time now);

}  // namespace mesh::certs

#endif  // MESH_CERTS_COMPARE_H_
