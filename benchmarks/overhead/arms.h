#ifndef MESH_BENCHMARKS_OVERHEAD_ARMS_H_
#define MESH_BENCHMARKS_OVERHEAD_ARMS_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "grpcpp/impl/codegen/channel_interface.h"

namespace mesh::benchmarks {

// A channel to the servers `addresses` ("127.0.0.1:80"), as `arm` says:
//   bare         a grpc::Channel with default settings, to the first address
//   bare_again   the same with a connection of its own, for A/A controls
//   round_robin  gRPC's round_robin, with retries by service config
//   mesh         mesh with default policies; all methods may be retried
//   mesh_once    mesh with default policies; no method may be retried
//   bare_mtls=BASE  as `bare`, with TlsCredentials of the files BASE
//   mesh_mtls=BASE  as `mesh`, with these files as its identity
// See ReadTlsFiles() for BASE.
// Ends the process when `arm` is none of these.
std::shared_ptr<grpc::ChannelInterface> MakeChannel(
    absl::string_view arm, const std::vector<std::string>& addresses);

}  // namespace mesh::benchmarks

#endif  // MESH_BENCHMARKS_OVERHEAD_ARMS_H_
