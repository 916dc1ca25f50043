#ifndef MESH_GRPC_OP_SET_H_
#define MESH_GRPC_OP_SET_H_

#include <atomic>
#include <cstddef>

#include "grpc/grpc.h"
#include "grpcpp/grpcpp.h"
#include "mesh/grpc/access.h"

// What batches of the application tell, though only gRPC knows their type, and
// how they are armed again. A batch is a grpc::internal::CallOpSet. Its
// operations are base classes of it, which dynamic_cast finds.

namespace mesh::core {

using BatchOps = grpc::internal::CallOpSetInterface;

// What an interceptor is shown is a part of its batch.
inline grpc::internal::InterceptorBatchMethodsImpl* Impl(
    grpc::experimental::InterceptorBatchMethods* methods) {
  return static_cast<grpc::internal::InterceptorBatchMethodsImpl*>(methods);
}

inline BatchOps* OpsOf(grpc::experimental::InterceptorBatchMethods* methods) {
  return Impl(methods)->*OpsMember();
}

// Whether `methods`, of a batch (and so not of a cancellation), is at `hook`.
// It makes no virtual call, since it is asked several times per call.
inline bool IsAt(grpc::experimental::InterceptorBatchMethods* methods,
                 grpc::experimental::InterceptionHookPoints hook) {
  return Impl(methods)
      ->grpc::internal::InterceptorBatchMethodsImpl::QueryInterceptionHookPoint(
          hook);
}

// Whether a batch is on its way up.
inline bool IsUp(grpc::experimental::InterceptorBatchMethods* methods) {
  return Impl(methods)->*ReverseMember();
}

// Whether the core said that the batch succeeded, and its operations too.
inline bool& Succeeded(grpc::experimental::InterceptorBatchMethods* methods) {
  // Both are members of CallOpSet itself, so they lie equally far apart in a
  // batch of any operations.
  static const ptrdiff_t distance = [] {
    AnyCallOpSet any;
    return reinterpret_cast<char*>(&(any.*SavedStatusMember())) -
           reinterpret_cast<char*>(&(any.*BatchMethodsMember()));
  }();
  return *reinterpret_cast<bool*>(reinterpret_cast<char*>(Impl(methods)) +
                                  distance);
}

// Whether the batch's event comes to a function of gRPC's callback API, and not
// to a thread that takes it from a queue.
inline bool ComesToFunction(BatchOps* ops) { return ops->core_cq_tag() != ops; }

// Lets a batch go on its way up whose event comes to a function; calls that
// function, on this thread. Call it only inside the batch's own event, by the
// last interceptor, and where no other has to see the batch. It spares the
// empty batch by which gRPC comes back to the queue after interceptors, and
// often another thread. The batch, and the call, may be gone when this returns.
// gRPC's own frames below do not touch them any more.
inline void LetUpInPlace(grpc::experimental::InterceptorBatchMethods* methods) {
  // As in Succeeded().
  static const ptrdiff_t distance = [] {
    AnyCallOpSet any;
    return reinterpret_cast<char*>(&(any.*DoneMember())) -
           reinterpret_cast<char*>(&(any.*BatchMethodsMember()));
  }();
  *reinterpret_cast<bool*>(reinterpret_cast<char*>(Impl(methods)) + distance) =
      true;
  auto* const function = static_cast<grpc_completion_queue_functor*>(
      OpsOf(methods)->core_cq_tag());
  function->functor_run(function, /*ok=*/1);
}

// Whether the status came instead of response headers. Known once initial
// metadata has been received.
bool TrailersOnly(grpc_call* call);

// False: the stub was compiled without RTTI. Then nothing is found in the
// batch.
inline bool KnowsItsType(BatchOps* ops) {
  // The slot before the first virtual function points to the type's information
  // (Itanium C++ ABI, 2.5.2).
  const void* const* const table = *reinterpret_cast<const void* const**>(ops);
  return table[-1] != nullptr;
}

bool ReceivesStatus(BatchOps* ops);
bool ReceivesHeaders(BatchOps* ops);
// Null: the batch sends no message.
grpc::internal::CallOpSendMessage* SendMessageOf(BatchOps* ops);

// Remembers which types of a call's batches bring no status. Thread-safe.
class StatuslessBatches {
 public:
  // True for a batch that brings no status, as far as that is quickly known.
  bool Includes(BatchOps* ops);

 private:
  // Virtual tables of such batches.
  std::atomic<const void*> tables_[4] = {};
};

// --- Arming a batch again. Each of these does nothing to a batch without the
// operation that it is about, unless it says otherwise.

// The batch sends the metadata that ClientContext has now.
void RearmStart(BatchOps* ops, grpc::ClientContext* context);
// The batch sends `bytes`. False: it sends no message.
bool RearmMessage(BatchOps* ops, const grpc::ByteBuffer& bytes,
                  const grpc::WriteOptions& options);
// The batch sends no message, though it was made to.
void DropMessage(BatchOps* ops);
void RearmClose(BatchOps* ops);
void RearmHeaders(BatchOps* ops, grpc::ClientContext* context);
// The batch has the operation.
void RearmStatus(BatchOps* ops, grpc::ClientContext* context,
                 grpc::Status* status);

// Sends `bytes`, with `options`, by an operation that has sent nothing yet.
void SendBytes(grpc::internal::CallOpSendMessage* op,
               const grpc::ByteBuffer& bytes,
               const grpc::WriteOptions& options);
// How a batch's message, that is still to be sent, is to be written.
const grpc::WriteOptions& WriteOptionsOf(grpc::internal::CallOpSendMessage* op);

// Receives headers once more, without the context being marked for that.
void ReceiveHeaders(grpc::internal::CallOpRecvInitialMetadata* op,
                    grpc::ClientContext* context);
// Does not receive headers, though the batch was made to.
void SkipHeaders(BatchOps* ops);

// A CallOpGenericRecvMessage forgets how to read its message once it has tried.
// This keeps that knowledge. Keep the result for as long as the batch may be
// armed, and lend it to the batch again each time. Null: the batch has no such
// operation.
Deserializer KeepDeserializer(BatchOps* ops);
void LendDeserializer(BatchOps* ops,
                      grpc::internal::DeserializeFunc* deserializer);

// Makes a batch that has not been started one that receives nothing. So another
// one can come back under its tag.
void Disarm(BatchOps* ops);

// The core is not asked for what the batch receives, since it has given it
// already.
void SkipReceiving(BatchOps* ops);

}  // namespace mesh::core

#endif  // MESH_GRPC_OP_SET_H_
