#ifndef MESH_CHANNEL_FALLBACK_H_
#define MESH_CHANNEL_FALLBACK_H_

#include <optional>

#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/status.h"
#include "mesh/fallback.h"
#include "mesh/grpc/in_process_answer.h"
#include "mesh/telemetry/observer.h"

namespace mesh::channel {

// Asks the application for an answer to a call that is about to fail with
// `status`. Nullopt: there is none. Call it with no lock held, since it runs
// the application's code.
std::optional<core::InProcessAnswer> AskFallback(
    const Fallback& fallback, const telemetry::CallInfo& info,
    const grpc::ByteBuffer& request, const grpc::Status& status);

}  // namespace mesh::channel

#endif  // MESH_CHANNEL_FALLBACK_H_
