#ifndef MESH_FALLBACK_H_
#define MESH_FALLBACK_H_

#include <functional>
#include <optional>

#include "absl/strings/string_view.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/status.h"

namespace mesh {

// A unary call that is about to fail. What is pointed to is there for as long
// as the fallback runs.
struct FailedCall {
  absl::string_view service;                  // "cart".
  absl::string_view method;                   // "/shop.Cart/GetCart".
  const grpc::ByteBuffer* request = nullptr;  // Serialized.
  const grpc::Status* status = nullptr;       // What it would fail with.
};

// What the application answers in place of a service: the serialized reply, or
// nothing, and the call fails. The caller gets OK and the reply; metrics and
// observers count the call as failed.
//
// Asked once a call, when its last attempt has failed, whatever the code, or
// when mesh itself fails it (a guard, no endpoint, its deadline). Not when the
// application has cancelled the call, nor when it has had initial metadata.
//
// Runs on whatever thread brings the end of a call: the one that waits for it,
// one of gRPC's, or the mesh's own, which all its services share; on several at
// once. Must be quick and must not block. One that throws has no answer: what
// it throws is caught and counted, and the first one is logged.
using Fallback =
    std::function<std::optional<grpc::ByteBuffer>(const FailedCall& call)>;

}  // namespace mesh

#endif  // MESH_FALLBACK_H_
