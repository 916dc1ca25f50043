#ifndef MESH_SERVICE_CONNECTION_COUNTS_H_
#define MESH_SERVICE_CONNECTION_COUNTS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "mesh/base/mutex.h"

namespace mesh::service {

// How many connections of one service exist, by their address and the
// generation of their secrets. Thread-safe.
class ConnectionCounts : public std::enable_shared_from_this<ConnectionCounts> {
 public:
  ConnectionCounts() = default;
  ConnectionCounts(const ConnectionCounts&) = delete;
  ConnectionCounts& operator=(const ConnectionCounts&) = delete;

  // Counts one connection until the result is destroyed, which keeps this
  // object.
  std::shared_ptr<void> Add(const std::string& address, uint64_t generation);

  std::map<uint64_t, uint64_t> ByGeneration() const;
  // The most generations that one address has connections of. 0: there are no
  // connections.
  uint64_t MostGenerations() const;

 private:
  using Counts = std::map<std::pair<std::string, uint64_t>, uint64_t>;

  mutable base::Mutex mu_;
  Counts counts_ ABSL_GUARDED_BY(mu_);  // Without zeros.
};

}  // namespace mesh::service

#endif  // MESH_SERVICE_CONNECTION_COUNTS_H_
