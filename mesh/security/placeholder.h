#ifndef MESH_SECURITY_PLACEHOLDER_H_
#define MESH_SECURITY_PLACEHOLDER_H_

#include <string>

#include "absl/status/statusor.h"

namespace mesh::security {

// A certificate that proves nothing, and its key: PEM. gRPC starts no server
// with TLS without a pair, and a process may not have its identity by then.
struct PlaceholderPair {
  std::string certificate;
  std::string key;
};

// Makes one: P-256, signed by itself, expired since 1970. Nobody else has its
// key, so it admits no client either. INTERNAL: OpenSSL refuses.
absl::StatusOr<PlaceholderPair> MakePlaceholderPair();

}  // namespace mesh::security

#endif  // MESH_SECURITY_PLACEHOLDER_H_
