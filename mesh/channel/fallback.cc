#include "mesh/channel/fallback.h"

#include <utility>

namespace mesh::channel {

std::optional<core::InProcessAnswer> AskFallback(
    const Fallback& fallback, const telemetry::CallInfo& info,
    const grpc::ByteBuffer& request, const grpc::Status& status) {
  FailedCall call;
  call.service = info.service;
  call.method = info.method;
  call.request = &request;
  call.status = &status;
  std::optional<grpc::ByteBuffer> reply = fallback(call);
  if (!reply.has_value()) return std::nullopt;
  core::InProcessAnswer answer;
  answer.has_message = true;
  answer.message = *std::move(reply);
  return answer;
}

}  // namespace mesh::channel
