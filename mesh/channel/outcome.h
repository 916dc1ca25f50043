#ifndef MESH_CHANNEL_OUTCOME_H_
#define MESH_CHANNEL_OUTCOME_H_

#include <map>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "grpc/grpc.h"
#include "grpcpp/support/status.h"
#include "mesh/call/call_machine.h"

// What the end of an attempt means to the call machine. Pure functions.

namespace mesh::channel {

// What an attempt was allowed, and when it ended.
struct AttemptBounds {
  absl::Time now;
  absl::Time attempt_deadline = absl::InfiniteFuture();
  absl::Time call_deadline = absl::InfiniteFuture();
  bool idempotent = false;  // The call may be executed twice.
};

// What the status and debug string of a failed attempt tell. They say nothing
// about pushback, nor whether the attempt is committed.
call::AttemptOutcome Explain(const grpc::Status& status,
                             absl::string_view debug,
                             const AttemptBounds& bounds);

// The server's `grpc-retry-pushback-ms`, if there is one. A value that is no
// number becomes negative: do not retry.
std::optional<absl::Duration> PushbackOf(const grpc_metadata_array& trailers);
absl::Duration ParsePushback(absl::string_view text);

// Whether the server says that it is about to go (mesh/server/server.h).
bool SaysDraining(const grpc_metadata_array& trailers);

// Makes `metadata` say how many attempts came before; for none it says nothing.
void SayPreviousAttempts(int count,
                         std::multimap<std::string, std::string>* metadata);

// A status code by name or number. Nullopt for OK and for anything else.
std::optional<absl::StatusCode> ParseCode(const std::string& text);

// What metadata of a call asks for (FaultOptions::by_header). It is taken out,
// so that it is not sent on.
struct HeaderFaults {
  std::optional<absl::StatusCode> abort;
  std::optional<absl::Duration> delay;
};
HeaderFaults TakeFaults(std::multimap<std::string, std::string>* metadata);

}  // namespace mesh::channel

#endif  // MESH_CHANNEL_OUTCOME_H_
