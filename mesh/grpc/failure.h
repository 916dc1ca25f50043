#ifndef MESH_GRPC_FAILURE_H_
#define MESH_GRPC_FAILURE_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "grpcpp/support/status.h"

namespace mesh::core {

grpc::Status ToGrpc(const absl::Status& status);

// Whether a failure came about before the call was given to any connection. The
// core says so only in words. A failure to connect has this text. It does not
// have the words with which every answer of a peer begins, even where the
// peer's message repeats such a text. Pinned by channel_test.
bool NeverSent(const grpc::Status& status, absl::string_view debug);

// Whether a failure came about on this side of the connection: it could not be
// made, it broke, or a deadline of ours passed. If the peer's application says
// something in the core's own words, that counts, too: it says that it could
// not work.
bool IsLocal(const grpc::Status& status, absl::string_view debug);

// Whether this side made a failure, whatever the endpoint did. Either a message
// is larger than this side allows, or credentials for the call could not be
// had.
bool IsOwn(const grpc::Status& status, absl::string_view debug);
// Whether this side made that failure about an answer: a peer has sent more
// than this side takes.
bool WasAnswered(const grpc::Status& status, absl::string_view debug);

// Whether a peer ended the call in the way of a gRPC server that is shutting
// down. Such a server gives the calls that reach it then to no handler. A peer
// might say the same about a call that it had begun, so this proves nothing.
bool LooksDropped(const grpc::Status& status, absl::string_view debug);

}  // namespace mesh::core

#endif  // MESH_GRPC_FAILURE_H_
