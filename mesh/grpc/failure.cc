#include "mesh/grpc/failure.h"

#include <string>

#include "absl/strings/match.h"

namespace mesh::core {
namespace {

// The core tells with these words that a connection broke under a call. It
// turns its own errors into what a peer might have said.
bool SaysConnectionBroke(absl::string_view message) {
  for (absl::string_view words :
       {"Socket closed", "Connection reset by peer", "Broken pipe",
        "GOAWAY received", "Transport closed", "keepalive watchdog timeout",
        "Stream IDs exhausted", "Received RST_STREAM"}) {
    if (absl::StrContains(message, words)) return true;
  }
  return false;
}

}  // namespace

grpc::Status ToGrpc(const absl::Status& status) {
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()),
                      std::string(status.message()));
}

bool NeverSent(const grpc::Status& status, absl::string_view debug) {
  return status.error_code() == grpc::StatusCode::UNAVAILABLE &&
         absl::StrContains(debug, "failed to connect to all addresses") &&
         !absl::StrContains(debug, "received from peer");
}

bool IsLocal(const grpc::Status& status, absl::string_view debug) {
  return !absl::StrContains(debug, "received from peer") ||
         SaysConnectionBroke(status.error_message());
}

bool IsOwn(const grpc::Status& status, absl::string_view debug) {
  if (absl::StrContains(debug, "received from peer")) return false;
  // No connection says this: it is a limit, or a quota, of this process.
  if (status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED) return true;
  for (absl::string_view words :
       {"Getting metadata from plugin failed", "Illegal metadata",
        "does not have a sufficient security level to transfer call "
        "credential"}) {
    if (absl::StrContains(status.error_message(), words)) return true;
  }
  return false;
}

bool WasAnswered(const grpc::Status& status, absl::string_view debug) {
  return IsOwn(status, debug) &&
         absl::StrContains(status.error_message(), "Received message larger");
}

bool LooksDropped(const grpc::Status& status, absl::string_view debug) {
  return status.error_code() == grpc::StatusCode::CANCELLED &&
         status.error_message() == "CANCELLED" &&
         absl::StrContains(debug, "received from peer");
}

}  // namespace mesh::core
