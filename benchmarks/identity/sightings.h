#ifndef MESH_BENCHMARKS_IDENTITY_SIGHTINGS_H_
#define MESH_BENCHMARKS_IDENTITY_SIGHTINGS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "benchmarks/identity/control.pb.h"
#include "grpcpp/security/auth_context.h"
#include "mesh/base/mutex.h"

namespace mesh::benchmarks {

// Which certificates one process has seen at the other ends of its connections,
// told once per connection. Its memory does not grow, because the benches
// measure that of its process. Thread-safe.
class Sightings {
 public:
  enum class End { kClient, kServer };
  // `end`: which one this process is.
  explicit Sightings(End end) : end_(end) {}

  // A call came over the connection between these ports. Returns the serial
  // number of the other end's certificate. Empty: there is no TLS.
  std::string Note(int client_port, int server_port,
                   const grpc::AuthContext& context);
  // Moves what is new to `stats`.
  void Take(identity::Stats* stats);

 private:
  // More than that between two questions are dropped.
  static constexpr size_t kMostWaiting = 10'000;

  // The connection that was seen last of all that share a slot.
  struct Slot {
    int client_port = 0;
    int server_port = 0;
    size_t certificate = 0;  // Hash of its PEM.
    std::array<char, 48> serial = {};
  };

  const End end_;

  base::Mutex mu_;
  std::array<Slot, 1024> slots_ ABSL_GUARDED_BY(mu_);
  std::vector<identity::Sighting> waiting_ ABSL_GUARDED_BY(mu_);
};

}  // namespace mesh::benchmarks

#endif  // MESH_BENCHMARKS_IDENTITY_SIGHTINGS_H_
