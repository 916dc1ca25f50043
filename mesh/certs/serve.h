#ifndef MESH_CERTS_SERVE_H_
#define MESH_CERTS_SERVE_H_

#include <functional>
#include <map>
#include <ostream>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace mesh::certs {

struct ServeOptions {
  std::string address;  // "unix:/tmp/agent.sock".
  std::vector<std::string>
      directories;  // One SVID of each: tls.crt, tls.key...
  std::map<std::string, std::string> federated;  // File by trust domain.
};

// Is an agent of the SPIFFE Workload API that gives to everybody what stands in
// files, and what comes to stand there (see security::FileSource). Each
// directory has an X.509-SVID; its hint is the directory's name. Tells `err`
// what is wrong, and `out` when it listens. Returns when `wait` does. An error
// at the start says why it cannot begin.
absl::Status Serve(const ServeOptions& options,
                   const std::function<void()>& wait, std::ostream& out,
                   std::ostream& err);

// Returns when SIGINT or SIGTERM has come. Call it before there are threads;
// the function that it returns waits.
std::function<void()> WaitForSignal();

}  // namespace mesh::certs

#endif  // MESH_CERTS_SERVE_H_
