#ifndef MESH_SERVICE_PROXY_H_
#define MESH_SERVICE_PROXY_H_

#include <functional>
#include <map>
#include <string>

#include "absl/strings/string_view.h"
#include "mesh/options/endpoints.h"

namespace mesh::service {

// The value of a variable of the environment. Null: it is not set.
using Environment = std::function<const char*(const char* name)>;

// Whether gRPC would go through an HTTP proxy to reach `host`. By its rule all
// of these hold:
// - The channel argument grpc.enable_http_proxy is not 0.
// - A proxy is named: by grpc_proxy, https_proxy or http_proxy (the first that
//   is set), or by the channel argument grpc.http_proxy.
// - No entry of no_grpc_proxy or no_proxy (the first that is set) is an end of
//   `host`.
bool GoesThroughProxy(
    absl::string_view host,
    const std::map<std::string, options::ChannelArgument>& channel_args,
    const Environment& environment);

// The environment of this process.
Environment ProcessEnvironment();

}  // namespace mesh::service

#endif  // MESH_SERVICE_PROXY_H_
