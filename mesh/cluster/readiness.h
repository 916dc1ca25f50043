#ifndef MESH_CLUSTER_READINESS_H_
#define MESH_CLUSTER_READINESS_H_

#include <cstdint>

namespace mesh::cluster {

// Whether an endpoint could take a call right now.
enum class Readiness : uint8_t {
  kIdle,        // Not connected and not trying.
  kConnecting,  // Trying.
  kReady,       // Connected.
  // The last try failed; another follows after a backoff. It stays kFailed
  // during that one, until the endpoint is ready, like gRPC's
  // TRANSIENT_FAILURE. So calls need not wait to fail.
  kFailed,
  // gRPC's TRANSIENT_FAILURE): calls need not wait to fail.
};

}  // namespace mesh::cluster

#endif  // MESH_CLUSTER_READINESS_H_
