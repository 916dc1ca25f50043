#ifndef MESH_VERSION_H_
#define MESH_VERSION_H_

#include "grpcpp/version_info.h"

#define MESH_VERSION "0.1.0"

// The seam to gRPC uses parts of it that are not its stable API, so mesh
// refuses to be compiled against a version that its tests don't cover.
// MESH_ANY_GRPC lifts that.
#if !MESH_ANY_GRPC && \
    (GRPC_CPP_VERSION_MAJOR != 1 || GRPC_CPP_VERSION_MINOR != 51)
#error "mesh is tested with gRPC 1.51 only. See docs/grpc-versions.md"
#endif

#endif  // MESH_VERSION_H_
