#ifndef MESH_FALLBACK_H_
#define MESH_FALLBACK_H_

#include <functional>
#include <optional>

#include "absl/strings/string_view.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/status.h"

namespace mesh {

// A unary call that is about to fail. What the fields point to lives until the
// fallback has returned.
struct FailedCall {
  absl::string_view service;                  // "cart".
  absl::string_view method;                   // "/shop.Cart/GetCart".
  const grpc::ByteBuffer* request = nullptr;  // Serialized.
  const grpc::Status* status = nullptr;       // What it is about to fail with.
};

// What the application answers in place of a service: the serialized reply, or
// nothing. Nothing lets the call fail. With a reply the caller gets OK; metrics
// and observers still count the call as failed.
//
// A fallback is asked at most once per call. It is asked when the last attempt
// has failed, with whatever code, or when mesh itself fails the call (a guard,
// no endpoint, its deadline). It is not asked when the application has
// cancelled the call, nor when the application has had initial metadata.
//
// It runs on the thread that brings the end of the call: the one that waits for
// it, one of gRPC's, or the mesh's control thread, which all services share. It
// may run on several threads at once. It must be quick and must not block. What
// it throws is caught and counted, and the first one is logged; the call then
// fails.
using Fallback =
    std::function<std::optional<grpc::ByteBuffer>(const FailedCall& call)>;

}  // namespace mesh

#endif  // MESH_FALLBACK_H_
