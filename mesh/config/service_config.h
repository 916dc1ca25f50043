#ifndef MESH_CONFIG_SERVICE_CONFIG_H_
#define MESH_CONFIG_SERVICE_CONFIG_H_

#include <map>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mesh/config/problems.h"
#include "mesh/options/retry.h"

// A gRPC service config (grpc/service_config/service_config.proto, gRFC A6):
// the part of it that mesh takes.

namespace mesh::config {

// What one methodConfig says.
struct GrpcMethodConfig {
  std::optional<absl::Duration> timeout;
  std::optional<bool> wait_for_ready;
  // At most one of the two was written; hedging brings a `retry` with it.
  std::optional<options::RetryOptions> retry;
  std::optional<options::HedgingOptions> hedging;
};

struct GrpcServiceConfig {
  // By "package.Service/Method", "package.Service/*" or "" for all others.
  std::map<std::string, GrpcMethodConfig> methods;

  // The one that counts for `pattern` (a key as above): its own, that of its
  // service, or that of all; null if there is none.
  const GrpcMethodConfig* Find(absl::string_view pattern) const;
};

// Parses JSON `text`. What is wrong is added to `problems`, with the positions
// in the text; unknown fields are ignored, as gRPC ignores them.
GrpcServiceConfig ParseGrpcServiceConfig(absl::string_view text,
                                         Problems* problems);

// The status code that a gRPC name ("UNAVAILABLE") stands for.
std::optional<absl::StatusCode> StatusCodeFromName(absl::string_view name);

// `, did you mean "UNAVAILABLE"?` or nothing.
std::string DidYouMeanStatus(absl::string_view name);

}  // namespace mesh::config

#endif  // MESH_CONFIG_SERVICE_CONFIG_H_
