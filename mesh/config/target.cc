#include "mesh/config/target.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "mesh/cluster/endpoint.h"
#include "mesh/config/address.h"

namespace mesh::config {
namespace {

absl::StatusOr<options::DnsOptions> ParseName(absl::string_view target,
                                              absl::string_view rest) {
  const size_t colon = rest.rfind(':');
  uint32_t port = 0;
  if (colon == absl::string_view::npos ||
      !ValidateHostName(rest.substr(0, colon)).ok() ||
      !absl::SimpleAtoi(rest.substr(colon + 1), &port) || port == 0 ||
      port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat(
        "target \"", target, "\" is not of the form dns:///host:port"));
  }
  options::DnsOptions dns;
  dns.name = std::string(rest.substr(0, colon));
  dns.port = static_cast<uint16_t>(port);
  return dns;
}

// Never null, and never empty.
absl::StatusOr<cluster::EndpointSetPtr> ParseAddresses(
    absl::string_view target) {
  auto set = std::make_shared<cluster::EndpointSet>();
  std::set<std::string> seen;
  for (absl::string_view address : absl::StrSplit(target, ',')) {
    const absl::Status valid = ValidateAddress(address);
    if (!valid.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("target \"", target, "\": ", valid.message(),
                       " (a name's target is dns:///host:port)"));
    }
    if (!seen.insert(CanonicalAddress(address)).second) continue;
    cluster::Endpoint endpoint;
    endpoint.address = std::string(address);
    set->endpoints.push_back(std::move(endpoint));
  }
  return cluster::EndpointSetPtr(std::move(set));
}

}  // namespace

absl::StatusOr<options::ServiceOptions> ParseTarget(absl::string_view target) {
  options::ServiceOptions options;
  options.name = std::string(target);
  absl::string_view rest = target;
  if (absl::ConsumePrefix(&rest, "dns:///") ||
      absl::ConsumePrefix(&rest, "dns:")) {
    absl::StatusOr<options::DnsOptions> dns = ParseName(target, rest);
    if (!dns.ok()) return dns.status();
    options.source = *std::move(dns);
    options.authority = std::string(rest);
    return options;
  }
  absl::StatusOr<cluster::EndpointSetPtr> set = ParseAddresses(target);
  if (!set.ok()) return set.status();
  options.authority = (*set)->endpoints.front().address;
  options.source = *std::move(set);
  return options;
}

}  // namespace mesh::config
