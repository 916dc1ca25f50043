#ifndef MESH_BENCHMARKS_IDENTITY_CALLERS_H_
#define MESH_BENCHMARKS_IDENTITY_CALLERS_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "benchmarks/identity/control.pb.h"
#include "benchmarks/outages/load.h"

// How a client process calls the servers, and makes new connections to them.

namespace mesh::benchmarks {

class Caller {
 public:
  virtual ~Caller() = default;

  // For the load. Thread-safe.
  virtual StubPtr stub() const = 0;
  // As a client that starts now: whether one call was OK until `deadline`.
  // Otherwise `why` says what the last try met. Thread-safe.
  virtual bool StartAndCall(absl::Time deadline, std::string* why) = 0;
  // A new connection with what this process shows now, to one of the servers in
  // turn. Returns the serial number that the server has seen in its handshake.
  // Empty: there was no answer. By one thread.
  virtual std::string SerialOfNewConnection() = 0;
  virtual void Tell(identity::Stats* stats) const = 0;
};

// Over mesh with the configuration in the file `config`, whose services are
// "test" and "fresh". What starts anew reads `fresh_config`.
std::unique_ptr<Caller> MakeMeshCaller(const std::string& config,
                                       const std::string& fresh_config);

// Over gRPC's round_robin with a retry policy, and StockCredentials().
std::unique_ptr<Caller> MakeStockCaller(const std::string& directory,
                                        std::vector<std::string> servers);

}  // namespace mesh::benchmarks

#endif  // MESH_BENCHMARKS_IDENTITY_CALLERS_H_
