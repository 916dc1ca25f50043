#ifndef MESH_INCOMING_INCOMING_CALL_H_
#define MESH_INCOMING_INCOMING_CALL_H_

#include <atomic>
#include <cstddef>
#include <memory>
#include <optional>

#include "grpc/grpc.h"
#include "grpc/support/time.h"
#include "mesh/security/peer.h"

// The calls that this process serves at the moment, by their grpc_call.
// grpc::ClientContext::FromServerContext() keeps just that pointer of the call
// for which another one is made.

namespace mesh::incoming {

// What a call came with.
struct IncomingCall {
  gpr_timespec deadline;  // By any clock; may be infinite.
};

// What is known of `call`, if it is served by a server that Attach() was called
// for. Nothing once the call is over; `call` must be referenced meanwhile. Null
// finds nothing. Thread-safe.
std::optional<IncomingCall> FindIncoming(grpc_call* call);

// Who makes `call`. Null: FindIncoming() would find nothing, or the call came
// over a port that does not know its peers. Thread-safe.
std::shared_ptr<const security::Peer> PeerOfIncoming(grpc_call* call);

// Notes that a call made for `call` failed although it was tried more than
// once, or would have been but for the budget. If `call` fails too, its caller
// is told not to retry. Does nothing when FindIncoming() would find nothing.
// Thread-safe.
void MarkRetriedInVain(grpc_call* call);

// The same, as the interceptor that keeps the calls sees it.
struct ServedCall {
  IncomingCall values;
  std::shared_ptr<const security::Peer> peer;  // Constant once it is added.
  std::atomic<bool> retried_in_vain{false};
};

// Makes `served` what FindIncoming() finds, until RemoveIncoming(). `call` must
// be referenced until then. Returns false, and does nothing, if there is such a
// call already.
bool AddIncoming(grpc_call* call, ServedCall* served);
void RemoveIncoming(grpc_call* call);

// How many calls are kept. For tests.
size_t CountIncoming();

}  // namespace mesh::incoming

#endif  // MESH_INCOMING_INCOMING_CALL_H_
