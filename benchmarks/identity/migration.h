#ifndef MESH_BENCHMARKS_IDENTITY_MIGRATION_H_
#define MESH_BENCHMARKS_IDENTITY_MIGRATION_H_

#include <cstdint>

#include "absl/time/time.h"

// A fleet that goes from plaintext to mutual TLS and back.

namespace mesh::benchmarks {

struct MigrationResult {
  int rounds = 0;
  int64_t calls = 0;
  int64_t failed = 0;
  int64_t late = 0;  // Those of them that only began late.
  // Calls without TLS that a handler of a strict server has seen.
  int64_t plaintext_calls_in_strict = 0;
  // Connections without TLS that are open 5 s after a server became strict.
  int strict_plaintext_open = 0;
  int strict_plaintext_unknown = 0;  // Those of them without any call.
  // Until the last such connection was gone, at most.
  absl::Duration strict_plaintext_last;
  // Plaintext connections and calls that were tried at strict servers, and
  // connections that were held open when servers became strict.
  int64_t tried_in_strict = 0;
  int64_t held = 0;
  // From a client's change until no server saw a call without TLS from it, the
  // longest.
  absl::Duration client_moved;
};

// Three servers and three clients go there and back `rounds` times.
MigrationResult PlayMigration(int rounds);

}  // namespace mesh::benchmarks

#endif  // MESH_BENCHMARKS_IDENTITY_MIGRATION_H_
