#include "mesh/service/proxy.h"

#include <cstdlib>
#include <initializer_list>
#include <variant>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "grpc/grpc.h"

namespace mesh::service {
namespace {

constexpr char kHttpProxyArgument[] = "grpc.http_proxy";

// The value of the first name that is set. Empty: none is.
absl::string_view FirstOf(std::initializer_list<const char*> names,
                          const Environment& environment) {
  for (const char* name : names) {
    const char* const value = environment(name);
    if (value != nullptr && value[0] != '\0') return value;
  }
  return "";
}

}  // namespace

bool GoesThroughProxy(
    absl::string_view host,
    const std::map<std::string, options::ChannelArgument>& channel_args,
    const Environment& environment) {
  const auto enabled = channel_args.find(GRPC_ARG_ENABLE_HTTP_PROXY);
  if (enabled != channel_args.end()) {
    const int* const value = std::get_if<int>(&enabled->second);
    if (value != nullptr && *value == 0) return false;
  }
  absl::string_view proxy;
  const auto argument = channel_args.find(kHttpProxyArgument);
  if (argument != channel_args.end()) {
    const auto* const value = std::get_if<std::string>(&argument->second);
    if (value != nullptr) proxy = *value;
  }
  if (proxy.empty()) {
    proxy = FirstOf({"grpc_proxy", "https_proxy", "http_proxy"}, environment);
  }
  // gRPC ignores what is no such URI.
  if (!absl::ConsumePrefix(&proxy, "http://") || proxy.empty()) return false;
  for (const absl::string_view end :
       absl::StrSplit(FirstOf({"no_grpc_proxy", "no_proxy"}, environment), ',',
                      absl::SkipEmpty())) {
    if (absl::EndsWithIgnoreCase(host, end)) return false;
  }
  return true;
}

Environment ProcessEnvironment() {
  return [](const char* name) { return std::getenv(name); };
}

}  // namespace mesh::service
