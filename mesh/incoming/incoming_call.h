#ifndef MESH_INCOMING_INCOMING_CALL_H_
#define MESH_INCOMING_INCOMING_CALL_H_

#include <atomic>
#include <cstddef>
#include <optional>

#include "grpc/grpc.h"
#include "grpc/support/time.h"

// The calls that this process serves at the moment, by their grpc_call: that is
// what grpc::ClientContext::FromServerContext() keeps of the call for which
// another one is made.

namespace mesh::incoming {

// What a call came with.
struct IncomingCall {
  gpr_timespec deadline;  // Of any clock; may be infinite.
};

// The call that `call` is, if a server serves it that Attach() was called for.
// Nothing once it is over, as long as `call` is referenced. Null finds nothing.
// Thread-safe.
std::optional<IncomingCall> FindIncoming(grpc_call* call);

// A call made for `call` failed although it was tried more than once, or would
// have been but for the budget: if `call` fails, its caller is to be told not
// to retry. Nothing when FindIncoming() would find nothing. Thread-safe.
void MarkRetriedInVain(grpc_call* call);

// As above, for the interceptor that keeps the calls.
struct ServedCall {
  IncomingCall values;
  std::atomic<bool> retried_in_vain{false};
};

// `served` is found until RemoveIncoming(). False, and nothing is done, if
// there is such a call already. `call` is referenced until then.
bool AddIncoming(grpc_call* call, ServedCall* served);
void RemoveIncoming(grpc_call* call);

// How many calls are kept, for tests.
size_t CountIncoming();

}  // namespace mesh::incoming

#endif  // MESH_INCOMING_INCOMING_CALL_H_
