#ifndef MESH_BENCHMARKS_IDENTITY_PROCESS_SIDE_H_
#define MESH_BENCHMARKS_IDENTITY_PROCESS_SIDE_H_

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "benchmarks/identity/control.grpc.pb.h"
#include "grpcpp/server.h"
#include "mesh/log.h"
#include "mesh/mesh.h"

// What the programs of the benches of identities have in common.

namespace mesh::benchmarks {

using Flags = std::map<std::string, std::string>;
// The words "--NAME=VALUE". Another one than `known` ends the process. To be
// called first: gRPC is to say nothing unless GRPC_VERBOSITY is set.
Flags ParseFlags(int argc, char** argv, const std::set<std::string>& known);

// Serves the steering of this process on a port of its own, in plaintext.
class ControlServer {
 public:
  explicit ControlServer(identity::Control::Service* service);
  const std::string& address() const { return address_; }

 private:
  std::string address_;
  std::unique_ptr<grpc::Server> server_;
};

// Prints the addresses for ReadAddresses(), and stays until this process is
// killed.
[[noreturn]] void AnnounceAndStay(const std::vector<std::string>& addresses);

// Nothing is said: the benches give a cause for many errors.
LogSink NoLog();

// Sets what the metrics of `mesh` say of identities and reloads.
void TellMetrics(const Mesh& mesh, identity::Stats* stats);
// Sets what the system says of this process's memory.
void TellMemory(identity::Stats* stats);

}  // namespace mesh::benchmarks

#endif  // MESH_BENCHMARKS_IDENTITY_PROCESS_SIDE_H_
