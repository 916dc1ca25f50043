#include "mesh/config/build_endpoints.h"

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "mesh/base/file.h"
#include "mesh/config/address.h"
#include "mesh/config/fields.h"
#include "mesh/config/text.h"

namespace mesh::config {

void EndpointsBuilder::BuildSource(const v1::Service& service,
                                   const std::string& path,
                                   options::ServiceOptions* options) {
  // An empty list that is written down counts; code has no such thing.
  const std::string list = FieldPath(path, "endpoints");
  std::vector<std::string> given;
  if (service.endpoints_size() > 0 || sources_.Has(list)) {
    given.push_back("endpoints");
  }
  for (const char* field : {"endpoints_file", "dns"}) {
    const auto* descriptor = v1::Service::descriptor()->FindFieldByName(field);
    if (service.GetReflection()->HasField(service, descriptor) ||
        sources_.Has(FieldPath(path, field))) {
      given.push_back(field);
    }
  }
  if (given.empty() && !sources_.IsBad(path)) {
    Add(sources_.Find(path), path,
        " must have one of endpoints, endpoints_file and dns");
  }
  for (size_t i = 1; i < given.size(); ++i) {
    Add(sources_.Find(FieldPath(path, given[i])), path,
        " must have only one of ", given[0], " and ", given[i]);
  }
  if (service.endpoints_size() > 0 || !service.has_endpoints_file()) {
    options->source = Endpoints(service.endpoints(), list);
  }
  if (service.has_endpoints_file()) {
    options->source = BuildEndpointsFile(service.endpoints_file());
  }
  if (service.has_dns()) {
    options->source = BuildDns(service.dns(), FieldPath(path, "dns"));
  }
}

cluster::EndpointSetPtr EndpointsBuilder::Endpoints(
    const google::protobuf::RepeatedPtrField<v1::Endpoint>& list,
    const std::string& path) {
  auto set = std::make_shared<cluster::EndpointSet>();
  set->endpoints.reserve(list.size());
  std::map<std::string, std::string> seen;  // Address to its first path.
  for (int i = 0; i < list.size(); ++i) {
    const std::string at = IndexPath(path, i);
    set->endpoints.push_back(BuildEndpoint(list[i], at));
    const std::string address_path = FieldPath(at, "address");
    const std::string& address = list[i].address();
    if (address.empty()) continue;  // Reported already.
    if (const absl::Status status = ValidateAddress(address); !status.ok()) {
      Add(sources_.Find(address_path), address_path, ": ", status.message());
      continue;
    }
    const auto [it, is_new] =
        seen.emplace(CanonicalAddress(address), address_path);
    if (!is_new) {
      Add(sources_.Find(address_path), address_path, ": ", Quoted(address),
          " is the address of ", absl::StripSuffix(it->second, ".address"),
          " too");
    }
  }
  return set;
}

cluster::Endpoint EndpointsBuilder::BuildEndpoint(const v1::Endpoint& endpoint,
                                                  const std::string& path) {
  cluster::Endpoint result;
  result.address = endpoint.address();
  cluster::EndpointDetails details;
  details.locality.region = endpoint.locality().region();
  details.locality.zone = endpoint.locality().zone();
  details.locality.sub_zone = endpoint.locality().sub_zone();
  if (endpoint.has_weight()) result.weight = endpoint.weight();
  result.priority = endpoint.priority();
  details.authority = endpoint.authority();
  CheckAuthority(endpoint.authority(), FieldPath(path, "authority"));
  for (const auto& [key, value] : endpoint.metadata()) {
    details.metadata[key] = value;
  }
  if (!(details == cluster::EndpointDetails())) {
    result.details =
        std::make_shared<const cluster::EndpointDetails>(std::move(details));
  }
  return result;
}

options::EndpointsFileOptions EndpointsBuilder::BuildEndpointsFile(
    const v1::EndpointsFile& file) {
  options::EndpointsFileOptions options;
  options.path = base::ResolvePath(file.path(), context_.file);
  return options;
}

options::DnsOptions EndpointsBuilder::BuildDns(const v1::Dns& dns,
                                               const std::string& path) {
  options::DnsOptions options;
  options.name = dns.name();
  options.port = static_cast<uint16_t>(dns.port());
  Fields(dns).GetAll(&options);
  CheckOrder(options.min_refresh, FieldPath(path, "min_refresh"),
             options.max_refresh, FieldPath(path, "max_refresh"));
  if (!dns.name().empty()) {
    // A literal address is a name that needs no resolving, as in getaddrinfo.
    const bool literal =
        ValidateAddress(absl::StrCat("[", dns.name(), "]:1")).ok();
    const absl::Status status = ValidateHostName(dns.name());
    if (!literal && !status.ok()) {
      const std::string name_path = FieldPath(path, "name");
      Add(sources_.Find(name_path), name_path, ": ", status.message());
    }
  }
  for (int i = 0; i < dns.servers_size(); ++i) {
    const std::string at = IndexPath(FieldPath(path, "servers"), i);
    if (sources_.IsBad(at)) continue;
    if (absl::StartsWith(dns.servers(i), "unix:")) {
      Add(sources_.Find(at), at, ": ", Quoted(dns.servers(i)),
          " must be \"IPv4:port\" or \"[IPv6]:port\"");
    } else if (const absl::Status status = ValidateAddress(dns.servers(i));
               !status.ok()) {
      Add(sources_.Find(at), at, ": ", status.message());
    }
    options.servers.push_back(dns.servers(i));
  }
  return options;
}

}  // namespace mesh::config
